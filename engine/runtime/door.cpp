#include "engine/runtime/door.h"

#include <algorithm>
#include <utility>

#include "engine/runtime/status.h"
#include "kernel/uapi/mlaccel_ring.h"

namespace ml::runtime {

// A function, so that it can't be reached from outside, and thread-local, so that errors of threads don't mix.
std::string& last_door_error() {
  thread_local std::string text;
  return text;
}

std::int32_t refuse_at_door(std::exception_ptr error) {
  Failure failure = describe_failure(std::move(error));
  std::ranges::replace(failure.message, MLRING_MESSAGE_PART, '\n');
  last_door_error() = std::move(failure.message);
  return failure.status;
}

}  // namespace ml::runtime
