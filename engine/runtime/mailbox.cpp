#include "engine/runtime/mailbox.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ml::runtime {

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

void Sleeper::wait_while_set() {
  // EINTR and EAGAIN are ways to come back early, which callers expect.
  syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, 1, nullptr, nullptr, 0);
}

void Sleeper::notify() { syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0); }

}  // namespace ml::runtime
