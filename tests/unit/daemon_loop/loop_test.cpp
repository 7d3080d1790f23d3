// Both event loops keep one contract, so every test runs over both.
#include "daemon/loop/loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "libmlclient/transport/unique_fd.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

using transport::UniqueFd;

struct Pair {
  UniqueFd ours, theirs;
};
Pair make_pair_of_sockets() {
  int fds[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}
void send_byte(const UniqueFd& socket) { EXPECT_EQ(send(socket.get(), "x", 1, MSG_NOSIGNAL), 1); }
void take_byte(int fd) {
  char byte;
  EXPECT_EQ(recv(fd, &byte, 1, 0), 1);
}

// Those that this machine has: a container may refuse io_uring, and the test of the refusal below runs everywhere.
std::vector<Loop::Kind> kinds() {
  std::vector<Loop::Kind> found = {Loop::Kind::epoll};
  try {
    Loop::create(Loop::Kind::io_uring, nullptr);
    found.push_back(Loop::Kind::io_uring);
  } catch (const Error& error) {
    std::printf("only epoll is tested here: %s\n", error.what());
  }
  return found;
}

class LoopTest : public testing::TestWithParam<Loop::Kind> {
 protected:
  std::unique_ptr<Loop> loop_ = Loop::create(GetParam(), nullptr);
};
INSTANTIATE_TEST_SUITE_P(Kinds, LoopTest, testing::ValuesIn(kinds()), [](const auto& one) {
  return std::string(one.param == Loop::Kind::epoll ? "epoll" : "io_uring");
});

TEST_P(LoopTest, says_which_it_is) {
  EXPECT_STREQ(loop_->name(), GetParam() == Loop::Kind::epoll ? "epoll" : "io_uring");
}

TEST_P(LoopTest, calls_while_the_event_holds) {
  const Pair pair = make_pair_of_sockets();
  for (int i = 0; i < 3; ++i) send_byte(pair.theirs);
  int calls = 0;
  loop_->watch(pair.ours.get(), EPOLLIN, [&](std::uint32_t events) {
    EXPECT_EQ(events, EPOLLIN);
    take_byte(pair.ours.get());
    if (++calls == 3) loop_->stop();
  });
  loop_->run();
  EXPECT_EQ(calls, 3);
}

TEST_P(LoopTest, a_function_that_throws_ends_alone) {
  const Pair pair = make_pair_of_sockets();
  send_byte(pair.theirs);
  std::string ran;
  loop_->watch(pair.ours.get(), EPOLLIN, [&](std::uint32_t) {
    take_byte(pair.ours.get());
    loop_->post([&] { ran += "after the watch, "; });
    loop_->post([] { throw std::bad_alloc(); });
    loop_->after(0, [&] {
      loop_->after(0, [&] {
        ran += "after the timer";
        loop_->stop();
      });
      throw std::runtime_error("a timer that fails");
    });
    throw std::runtime_error("a watch that fails");
  });
  loop_->run();
  EXPECT_EQ(ran, "after the watch, after the timer");
}

TEST_P(LoopTest, is_quiet_once_the_event_is_gone) {
  const Pair pair = make_pair_of_sockets();
  send_byte(pair.theirs);
  int calls = 0;
  loop_->watch(pair.ours.get(), EPOLLIN, [&](std::uint32_t) {
    take_byte(pair.ours.get());
    ++calls;
    // Several turns later it has not been called again.
    auto turns = std::make_shared<std::function<void(int)>>();
    *turns = [this, turns](int left) {
      if (left == 0) return loop_->stop();
      loop_->post([turns, left] { (*turns)(left - 1); });
    };
    (*turns)(10);
  });
  loop_->run();
  EXPECT_EQ(calls, 1);
}

TEST_P(LoopTest, unwatches_from_within_the_function) {
  const Pair pair = make_pair_of_sockets();
  send_byte(pair.theirs);
  int calls = 0;
  const auto kept = std::make_shared<int>(7);
  loop_->watch(pair.ours.get(), EPOLLIN, [&, kept](std::uint32_t) {
    ++calls;
    loop_->unwatch(pair.ours.get());
    EXPECT_EQ(*kept, 7) << "the function outlives its own unwatching";
    loop_->after(1'000'000, [&] { loop_->stop(); });
  });
  loop_->run();
  EXPECT_EQ(calls, 1);
}

TEST_P(LoopTest, a_function_may_unwatch_another_that_is_ready_too) {
  const Pair first = make_pair_of_sockets(), second = make_pair_of_sockets();
  send_byte(first.theirs);
  send_byte(second.theirs);
  int calls = 0;
  const auto ready = [&](std::uint32_t) {
    ++calls;
    loop_->unwatch(first.ours.get());
    loop_->unwatch(second.ours.get());
    loop_->after(1'000'000, [&] { loop_->stop(); });
  };
  loop_->watch(first.ours.get(), EPOLLIN, ready);
  loop_->watch(second.ours.get(), EPOLLIN, ready);
  loop_->run();
  EXPECT_EQ(calls, 1);
}

TEST_P(LoopTest, news_of_a_closed_fd_do_not_reach_the_next_file_with_its_number) {
  Pair first = make_pair_of_sockets(), second = make_pair_of_sockets();
  send_byte(first.theirs);
  send_byte(second.theirs);
  int wrong = 0;
  UniqueFd reused, peer;
  // Whichever is called first closes the other, whose news lie in the same batch, and watches a silent socket under
  // the same number.
  const auto replace = [&](Pair& other) {
    Pair fresh = make_pair_of_sockets();
    const int number = other.ours.get();
    loop_->unwatch(number);
    other.ours.reset();
    ASSERT_EQ(dup3(fresh.ours.get(), number, O_CLOEXEC), number);
    reused = UniqueFd(number);
    peer = std::move(fresh.theirs);
    loop_->watch(number, EPOLLIN, [&](std::uint32_t) { ++wrong; });
    loop_->after(1'000'000, [&] { loop_->stop(); });
  };
  loop_->watch(first.ours.get(), EPOLLIN, [&](std::uint32_t) {
    loop_->unwatch(first.ours.get());
    replace(second);
  });
  loop_->watch(second.ours.get(), EPOLLIN, [&](std::uint32_t) {
    loop_->unwatch(second.ours.get());
    replace(first);
  });
  loop_->run();
  EXPECT_EQ(wrong, 0);
  // And the new file's own news do arrive.
  int right = 0;
  loop_->watch(reused.get(), EPOLLIN, [&](std::uint32_t) {
    ++right;
    loop_->stop();
  });
  send_byte(peer);
  loop_->run();
  EXPECT_EQ(right, 1);
  loop_->unwatch(reused.get());
}

TEST_P(LoopTest, a_closed_fd_is_let_go_of) {
  Pair pair = make_pair_of_sockets();
  loop_->watch(pair.ours.get(), EPOLLIN, [](std::uint32_t) {});
  loop_->post([&] {
    loop_->post([&] {  // by now the kernel knows of the watch
      loop_->unwatch(pair.ours.get());
      pair.ours.reset();
    });
  });
  loop_->watch(pair.theirs.get(), 0, [&](std::uint32_t events) {
    EXPECT_TRUE(events & EPOLLHUP) << "nothing keeps the other end open";
    loop_->stop();
  });
  loop_->run();
}

TEST_P(LoopTest, watching_again_changes_events_and_function) {
  const Pair pair = make_pair_of_sockets();
  int reads = 0, writes = 0;
  loop_->watch(pair.ours.get(), EPOLLIN, [&](std::uint32_t) { ++reads; });
  loop_->watch(pair.ours.get(), EPOLLOUT, [&](std::uint32_t events) {
    EXPECT_EQ(events, EPOLLOUT);
    ++writes;
    loop_->watch(pair.ours.get(), EPOLLIN, [&](std::uint32_t) {
      ++reads;
      loop_->stop();
    });
    send_byte(pair.theirs);
  });
  loop_->run();
  EXPECT_EQ(writes, 1);
  EXPECT_EQ(reads, 1);
}

TEST_P(LoopTest, reports_a_hang_up_that_nobody_asked_for) {
  Pair pair = make_pair_of_sockets();
  std::uint32_t seen = 0;
  loop_->watch(pair.ours.get(), 0, [&](std::uint32_t events) {
    seen = events;
    loop_->stop();
  });
  loop_->post([&] { pair.theirs.reset(); });
  loop_->run();
  EXPECT_TRUE(seen & EPOLLHUP);
}

TEST_P(LoopTest, timers_run_by_deadline_and_then_by_age) {
  std::string order;
  loop_->after(3'000'000, [&] { order += 'c'; });
  loop_->after(1'000'000, [&] { order += 'a'; });
  loop_->after(2'000'000, [&] { order += 'b'; });
  loop_->after(4'000'000, [&] {
    order += 'd';
    loop_->stop();
  });
  loop_->after(0, [&] { order += '1'; });
  loop_->after(0, [&] { order += '2'; });
  loop_->run();
  EXPECT_EQ(order, "12abcd");
}

TEST_P(LoopTest, a_cancelled_timer_does_not_run_even_when_it_is_due) {
  bool ran = false;
  Loop::TimerId second = 0;
  loop_->after(0, [&] { loop_->cancel(second); });
  second = loop_->after(0, [&] { ran = true; });
  const Loop::TimerId third = loop_->after(~std::uint64_t{0}, [&] { ran = true; });
  loop_->cancel(third);
  loop_->cancel(third);  // once more: nothing
  loop_->after(1'000'000, [&] { loop_->stop(); });
  loop_->run();
  EXPECT_FALSE(ran);
}

TEST_P(LoopTest, timers_that_renew_themselves_do_not_starve_fds) {
  const Pair pair = make_pair_of_sockets();
  std::function<void()> again = [&] { loop_->after(0, again); };
  again();
  loop_->watch(pair.ours.get(), EPOLLIN, [&](std::uint32_t) { loop_->stop(); });
  send_byte(pair.theirs);
  loop_->run();  // comes back
}

TEST_P(LoopTest, posts_from_threads_arrive_all_and_in_order) {
  constexpr int kThreads = 4, kPosts = 2500;
  std::map<int, int> next;
  int total = 0;
  const auto loop_thread = std::this_thread::get_id();
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < kThreads; ++thread)
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kPosts; ++i)
        loop_->post([&, thread, i] {
          EXPECT_EQ(std::this_thread::get_id(), loop_thread);
          EXPECT_EQ(next[thread]++, i);
          if (++total == kThreads * kPosts) loop_->stop();
        });
    });
  loop_->run();
  EXPECT_EQ(total, kThreads * kPosts);
}

TEST_P(LoopTest, posts_that_post_do_not_starve_fds) {
  const Pair pair = make_pair_of_sockets();
  std::function<void()> again = [&] { loop_->post(again); };
  again();
  loop_->watch(pair.ours.get(), EPOLLIN, [&](std::uint32_t) { loop_->stop(); });
  send_byte(pair.theirs);
  loop_->run();
}

TEST_P(LoopTest, stops_from_another_thread_and_runs_again) {
  for (int i = 0; i < 3; ++i) {
    std::jthread other([&] { loop_->stop(); });
    loop_->run();
  }
}

TEST_P(LoopTest, serves_more_fds_than_one_batch_holds) {
  constexpr int kCount = 700;
  std::vector<Pair> pairs;
  for (int i = 0; i < kCount; ++i) pairs.push_back(make_pair_of_sockets());
  int calls = 0;
  for (const Pair& pair : pairs) {
    loop_->watch(pair.ours.get(), EPOLLIN, [&, fd = pair.ours.get()](std::uint32_t) {
      take_byte(fd);
      if (++calls == 2 * kCount) loop_->stop();
    });
    send_byte(pair.theirs);
    send_byte(pair.theirs);
  }
  loop_->run();
  EXPECT_EQ(calls, 2 * kCount);
}

}  // namespace
}  // namespace ml::daemon
