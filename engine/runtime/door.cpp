#include "engine/runtime/door.h"

#include <algorithm>
#include <utility>

#include "engine/runtime/status.h"
#include "kernel/uapi/mlaccel_ring.h"

namespace ml::runtime {
namespace {

// Thread-local, so that errors of threads don't mix; and an array, because a process that ends destroys its main
// thread's objects before its sessions, which then come through the door once more.
thread_local char text[MLRING_MESSAGE_MAX + 1];

}  // namespace

const char* last_door_error() { return text; }

void forget_door_error() { text[0] = '\0'; }

std::int32_t refuse_at_door(std::exception_ptr error) {
  const Failure failure = describe_failure(std::move(error));
  const std::size_t length = std::min<std::size_t>(failure.message.size(), MLRING_MESSAGE_MAX);
  std::replace_copy(failure.message.begin(), failure.message.begin() + static_cast<std::ptrdiff_t>(length), text,
                    static_cast<char>(MLRING_MESSAGE_PART), '\n');
  text[length] = '\0';
  return failure.status;
}

}  // namespace ml::runtime
