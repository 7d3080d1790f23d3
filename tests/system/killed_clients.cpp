// Clients that are killed at any point of what they do: mld and the workers give everything back, and go on.
#include <gtest/gtest.h>

#include <csignal>
#include <random>

#include "tests/system/support/baseline.h"
#include "tests/system/support/daemon.h"
#include "tests/system/support/randomness.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

constexpr int kClients = 64;

// Sessions without end, each a bit different: how many queues, what runs in them, whether it is waited for, whether the
// session is closed in order.
std::string live(const std::string& socket, std::uint64_t its_seed) {
  std::mt19937_64 random(its_seed);
  for (;;) {
    RawSession session(socket, HelloOptions{.client = "to be killed"});
    const auto arena = session.add_arena(64 << 10);
    std::vector<std::unique_ptr<RawQueue>> queues;
    for (std::uint64_t i = random() % 3 + 1; i > 0; --i) queues.push_back(session.open_queue(16));
    RawQueue& queue = *queues[0];
    const mlring_handle program = compile(queue, *arena, random() % 4 == 0 ? busy_graph(1000) : add_one_graph());
    const mlring_argument in = arena->input(std::vector<float>(256)), out = arena->output(256);
    mlring_descriptor memory{.opcode = MLRING_OP_ALLOC, .operand = 4096};
    const mlring_descriptor run = execute(*arena, program, {in, out});
    for (std::uint64_t i = random() % 20; i > 0; --i) {
      if (random() % 2 == 0)
        queue.run(run);
      else if (random() % 2 == 0)
        queue.run(memory);
      else if (queue.ring().credits() > 1)
        queue.submit(run);
    }
    if (random() % 2 == 0) queues.clear();
  }
}

class Crowd {
 public:
  explicit Crowd(const Daemon& daemon) : socket_(daemon.socket()), random_(seed()) {
    for (int i = 0; i < kClients; ++i) clients_.push_back(one_more());
  }
  // Kills any one after a moment, and puts another in its place.
  void round() {
    poll(nullptr, 0, static_cast<int>(random_() % 4));
    std::unique_ptr<Forked>& one = clients_[random_() % kClients];
    const Ended ended = one->process().kill();
    if (!ended.by_signal(SIGKILL)) throw std::runtime_error("a client ended by itself: " + one->answer());
    one = one_more();
  }

 private:
  std::unique_ptr<Forked> one_more() {
    return std::make_unique<Forked>(std::optional<User>(),
                                    [this, its_seed = random_()] { return live(socket_, its_seed); });
  }
  std::string socket_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Forked>> clients_;
};

TEST(KilledClients, LeaveNothingInMldOrItsWorkers) {
  // Those that were killed count until mld has seen it, which takes a busy machine a while.
  Daemon daemon({.toml = "[limits]\nsessions = 4096\nsessions_a_second = \"unlimited\"\n"});
  {
    RawSession first(daemon.socket());  // which waits for the worker
    compute_something(first);
  }
  const std::vector<pid_t> workers = daemon.workers();
  ASSERT_FALSE(workers.empty());
  std::vector<pid_t> pids = workers;
  pids.push_back(daemon.pid());
  {
    RawSession session(daemon.socket());  // by then its worker has all that it starts with
    compute_something(session);
  }
  // What a process keeps once it has been busy (threads' stacks, the allocator's pools) is not a leak.
  const Baseline unused(pids);
  {
    Crowd crowd(daemon);
    for (int i = 0; i < kClients; ++i) crowd.round();
  }
  ASSERT_TRUE(unused.restored(kPatience, 256u << 20));
  const Baseline before(pids);
  {
    Crowd crowd(daemon);
    for (int i = rounds(2000); i > 0; --i) crowd.round();
  }
  EXPECT_TRUE(before.restored());
  EXPECT_EQ(daemon.workers(), workers) << "a worker did not survive";
  RawSession session(daemon.socket());
  compute_something(session);
}

}  // namespace
}  // namespace ml::test
