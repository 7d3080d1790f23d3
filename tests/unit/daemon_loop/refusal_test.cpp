// What happens where io_uring is refused, as container run times do.
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <thread>

#include "daemon/loop/loop.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

// For this thread alone and for good.
void refuse_io_uring() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
  ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

TEST(LoopRefusalTest, automatic_takes_epoll_and_says_why) {
  std::jthread([] {
    refuse_io_uring();
    std::string why_not;
    const auto loop = Loop::create(Loop::Kind::automatic, &why_not);
    EXPECT_STREQ(loop->name(), "epoll");
    EXPECT_EQ(why_not, "io_uring_setup: Operation not permitted");
    bool ran = false;
    loop->post([&] {
      ran = true;
      loop->stop();
    });
    loop->run();
    EXPECT_TRUE(ran);
  });
}

TEST(LoopRefusalTest, asking_for_io_uring_is_an_error) {
  std::jthread([] {
    refuse_io_uring();
    try {
      Loop::create(Loop::Kind::io_uring, nullptr);
      ADD_FAILURE() << "made a loop on a refused io_uring";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::unsupported);
      EXPECT_EQ(error.message(), "io_uring_setup: Operation not permitted");
    }
  });
}

}  // namespace
}  // namespace ml::daemon
