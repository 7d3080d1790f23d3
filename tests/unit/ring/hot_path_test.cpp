// While both sides are awake, a NOP makes no system call and allocates nothing on either side.
#include <gtest/gtest.h>

// A sanitizer's own run time allocates and calls the system; what is promised here is promised without it.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

#include "tests/unit/ring/ring_pair.h"

namespace {

std::size_t allocations = 0;

}  // namespace

void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* at = std::malloc(bytes)) return at;
  throw std::bad_alloc();
}
void operator delete(void* at) noexcept { std::free(at); }
void operator delete(void* at, std::size_t) noexcept { std::free(at); }

namespace ml::test {
namespace {

// Any system call but the one that ends the process kills it from now on.
void forbid_system_calls() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  const sock_fprog program{std::size(filter), filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
    _exit(3);
}

[[noreturn]] void many_nops(bool errors_too) {
  RingPair ring(64);
  std::vector<mlring_descriptor> batch(32, nop());
  if (errors_too) batch[5].flags = 0x80;
  transport::Completion got{};
  const std::size_t before = allocations;
  forbid_system_calls();
  for (int i = 0; i < 10000; ++i) {
    if (ring.client.submit(batch) != batch.size()) _exit(4);
    ring.serve();
    if (!ring.client.wait({.completions = 32})) _exit(5);
    for (std::size_t n = 0; n < batch.size(); ++n)
      if (!ring.client.poll(got)) _exit(6);
  }
  _exit(allocations == before ? 0 : 7);
}

TEST(RingHotPath, MakesNoSystemCallAndAllocatesNothing) {
  EXPECT_EXIT(many_nops(false), testing::ExitedWithCode(0), "");
}

TEST(RingHotPath, RefusingADescriptorDoesNeitherOfBoth) {
  EXPECT_EXIT(many_nops(true), testing::ExitedWithCode(0), "");
}

TEST(RingHotPath, ASystemCallWouldBeNoticed) {
  EXPECT_EXIT(
      {
        forbid_system_calls();
        syscall(SYS_getppid);
        _exit(0);
      },
      testing::KilledBySignal(SIGSYS), "");
}

}  // namespace
}  // namespace ml::test

#endif
