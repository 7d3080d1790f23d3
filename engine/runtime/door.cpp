#include "engine/runtime/door.h"

#include <algorithm>
#include <utility>

#include "engine/runtime/status.h"
#include "kernel/uapi/mlaccel_ring.h"

namespace ml::runtime {

namespace {

thread_local std::string* text = nullptr;

struct FreeAtThreadEnd {
  ~FreeAtThreadEnd() { delete std::exchange(text, nullptr); }
};

}  // namespace

// Thread-local, so that errors of threads don't mix. A process that ends loses its main thread's objects before its
// sessions, which then come through the door once more: they get a text of their own.
std::string& last_door_error() {
  thread_local const FreeAtThreadEnd owner;
  (void)owner;
  if (text == nullptr) text = new std::string;
  return *text;
}

std::int32_t refuse_at_door(std::exception_ptr error) {
  Failure failure = describe_failure(std::move(error));
  std::ranges::replace(failure.message, MLRING_MESSAGE_PART, '\n');
  last_door_error() = std::move(failure.message);
  return failure.status;
}

}  // namespace ml::runtime
