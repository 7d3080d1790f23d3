// Client and worker on their own threads, as fast as they can: run under ThreadSanitizer by make test-sanitize.
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tests/unit/ring/ring_pair.h"

namespace ml::test {
namespace {

using runtime::TakenDescriptor;
using transport::Completion;
using transport::RingState;

// Serves a ring until its owner closes it: polls, parks after a while without work, sleeps on the doorbell.
class Server {
 public:
  Server(RingPair& ring, int polls_before_park)
      : ring_(ring), thread_([this, polls_before_park] { run(polls_before_park); }) {}
  ~Server() {
    stop_ = true;  // before the doorbell that set_state() rings
    ring_.memory.set_state(MLRING_STATE_CLOSED);
    thread_.join();
  }

 private:
  void run(int polls_before_park) {
    std::mt19937 random(7);
    std::vector<TakenDescriptor> open;
    std::array<TakenDescriptor, 32> taken;
    int idle = 0;
    while (!stop_) {
      const std::size_t n = ring_.worker.take(taken, 1);
      open.insert(open.end(), taken.begin(), taken.begin() + static_cast<std::ptrdiff_t>(n));
      const bool worked = !open.empty();
      while (!open.empty()) {  // in any order
        std::swap(open[random() % open.size()], open.back());
        mlring_completion answer{};
        answer.bytes = open.back().sequence;
        ring_.worker.complete(open.back().slot, answer, open.back().sequence % 64 == 0 ? "a message" : "");
        open.pop_back();
      }
      ring_.worker.publish();
      if (worked) idle = 0;
      if (++idle > polls_before_park && ring_.worker.park()) {
        pollfd p{ring_.memory.doorbell_fd(), POLLIN, 0};
        poll(&p, 1, -1);
        uint64_t count = 0;
        [[maybe_unused]] const ssize_t got = read(ring_.memory.doorbell_fd(), &count, sizeof count);
        ring_.worker.unpark();
        idle = 0;
      }
    }
  }

  RingPair& ring_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

void expect_answer(const Completion& got, const std::string& message, uint64_t& sum) {
  ASSERT_EQ(got.entry.bytes, got.sequence);
  ASSERT_EQ(got.entry.user_data, got.sequence * 3);
  ASSERT_EQ(message, got.sequence % 64 == 0 ? "a message" : "");
  sum += got.sequence - MLRING_START;
}

uint64_t sum_below(uint64_t n) { return n * (n - 1) / 2; }

TEST(RingThreads, PingPong) {
  RingPair ring(16);
  Server server(ring, 100);
  uint64_t sum = 0;
  Completion got{};
  std::string message;
  for (int i = 0; i < 20000; ++i) {
    ASSERT_TRUE(ring.client.submit(nop(ring.client.next_sequence() * 3)));
    ASSERT_TRUE(ring.client.wait());
    ASSERT_TRUE(ring.client.poll(got, &message));
    expect_answer(got, message, sum);
  }
  EXPECT_EQ(sum, sum_below(20000));
}

TEST(RingThreads, PingPongAsleepOnBothSides) {
  RingPair ring(16);
  Server server(ring, 0);
  uint64_t sum = 0;
  Completion got{};
  std::string message;
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE(ring.client.submit(nop(ring.client.next_sequence() * 3)));
    ASSERT_TRUE(ring.client.wait({.long_work = true}));
    ASSERT_TRUE(ring.client.poll(got, &message));
    expect_answer(got, message, sum);
  }
  EXPECT_EQ(sum, sum_below(5000));
}

TEST(RingThreads, BatchesThroughAFullRing) {
  RingPair ring(64);
  Server server(ring, 10);
  constexpr uint64_t all = 100000;
  uint64_t sum = 0, read = 0;
  Completion got{};
  std::string message;
  std::vector<mlring_descriptor> batch(32);
  while (read < all) {
    for (std::size_t i = 0; i < batch.size(); ++i) batch[i] = nop((ring.client.next_sequence() + i) * 3);
    const uint64_t sent = ring.client.next_sequence() - MLRING_START;
    ring.client.submit(std::span(batch).first(std::min<uint64_t>(batch.size(), all - sent)));
    if (ring.client.credits() == 0) {
      ASSERT_TRUE(ring.client.wait({.completions = 16}));
    }
    while (ring.client.poll(got, &message)) {
      expect_answer(got, message, sum);
      ++read;
    }
  }
  EXPECT_EQ(sum, sum_below(all));
  EXPECT_EQ(ring.client.completed_sequence(), MLRING_START + all);
}

TEST(RingThreads, SubmittingAndCompletingSidesAreTwoThreads) {
  RingPair ring(32);
  Server server(ring, 10);
  constexpr uint64_t all = 50000;
  uint64_t sum = 0;
  std::thread reader([&] {
    Completion got{};
    std::string message;
    for (uint64_t read = 0; read < all;) {
      ASSERT_TRUE(ring.client.wait());
      while (ring.client.poll(got, &message)) {
        expect_answer(got, message, sum);
        ++read;
      }
    }
  });
  while (ring.client.next_sequence() < MLRING_START + all)
    if (!ring.client.submit(nop(ring.client.next_sequence() * 3))) std::this_thread::yield();
  reader.join();
  EXPECT_EQ(sum, sum_below(all));
}

// A client that rewrites all of its pages while the worker uses them: the worker may fault, and nothing worse.
TEST(RingThreads, PagesRewrittenAllTheTimeOnlyFault) {
  constexpr uint32_t depth = 8;
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 20; ++round) {
    RingPair ring(depth);
    HostileView view(ring.memory.memory_fd(), depth);
    std::atomic<bool> stop{false};
    std::thread attacker([&, first = random()] {
      std::mt19937 noise(first);
      while (!stop) {
        auto* words = reinterpret_cast<mlring_word*>(&view.descriptor(0));
        MLRING_STORE(&words[noise() % (depth * 8)], uint64_t{noise() % 16});
        const uint32_t tail = MLRING_LOAD(&view.completion().submission_head);
        if (noise() % 4 == 0) MLRING_STORE_RELEASE(&view.submission().tail, tail + noise() % depth);
        const uint32_t head = MLRING_LOAD(&view.completion().completion_tail);
        if (noise() % 4 == 0) MLRING_STORE_RELEASE(&view.submission().completion_head, head);
      }
    });
    std::array<TakenDescriptor, 4> taken;
    for (int visit = 0; visit < 3000 && ring.worker.fault() == MLRING_FAULT_NONE; ++visit) {
      const std::size_t n = ring.worker.take(taken, 1);
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(mlring_check_descriptor(&taken[i].descriptor), 0u);
        ring.worker.complete(taken[i].slot, {}, "noise");
      }
      ring.worker.publish();
    }
    stop = true;
    attacker.join();
  }
}

}  // namespace
}  // namespace ml::test
