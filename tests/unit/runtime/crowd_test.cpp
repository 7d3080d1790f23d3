// Many queues of many users on one worker: device time follows the weights, and nobody is overlooked.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <deque>
#include <thread>

#include "engine/runtime/clock.h"
#include "tests/unit/runtime/client.h"

namespace ml {
namespace {

using namespace test;

// Allocating takes a nanosecond a byte.
class MeteredDevice final : public Device {
 public:
  std::string_view name() const override { return inner_->name(); }
  const DeviceTraits& traits() const override { return inner_->traits(); }
  std::string fingerprint() const override { return inner_->fingerprint(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes) override {
    const std::uint64_t until = runtime::monotonic_now() + bytes;
    while (runtime::monotonic_now() < until) runtime::relax();
    return inner_->allocate(16);
  }
  std::unique_ptr<Buffer> wrap(void* memory, std::size_t bytes) override { return inner_->wrap(memory, bytes); }
  std::unique_ptr<Stream> create_stream() override { return inner_->create_stream(); }
  std::span<const Implementation> implementations() const override { return inner_->implementations(); }

 private:
  std::unique_ptr<Device> inner_ = create_reference_device();
};

// A session whose queues always have work waiting, until it goes: so much that its thread may sleep meanwhile.
class Flood {
 public:
  static constexpr std::uint32_t kDepth = 4096;
  Flood(runtime::Worker& worker, std::uint32_t user, std::uint64_t task_ns, int queues = 1, std::int32_t priority = 0)
      : session_(worker, {.user = user}) {
    for (int i = 0; i < queues; ++i)
      queues_.emplace_back(worker, session_.session, kDepth,
                           runtime::QueueOptions{.priority = priority, .faulted = {}});
    thread_ = std::thread([this, task_ns] {
      const mlring_descriptor task = descriptor_of(MLRING_OP_ALLOC, task_ns);
      transport::Completion completion;
      while (!stop_) {
        for (TestQueue& queue : queues_) {
          while (queue.ring.submit(task)) {
          }
          while (queue.ring.poll(completion)) {
            if (completion.entry.status == MLRING_OK) {
              const mlring_descriptor freed = descriptor_of(MLRING_OP_FREE, 0, completion.entry.result);
              while (!queue.ring.submit(freed) && queue.ring.poll(completion)) {
              }
            }
          }
        }
        queues_.front().ring.wait({.deadline = runtime::monotonic_now() + 100'000});
      }
    });
  }
  ~Flood() {
    stop_ = true;
    thread_.join();
  }
  std::uint64_t busy() const { return runtime::Worker::use_of(session_.session).busy_ns; }

 private:
  TestSession session_;
  std::deque<TestQueue> queues_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class Crowd : public testing::Test {
 protected:
  // Lets the device be busy for so long, and answers what part of it the first had.
  double part_of_first(const Flood& first, const Flood& second, std::uint64_t nanoseconds = 300'000'000) {
    const std::uint64_t before[] = {first.busy(), second.busy()};
    std::uint64_t had[] = {0, 0};
    do {
      std::this_thread::yield();
      had[0] = first.busy() - before[0];
      had[1] = second.busy() - before[1];
    } while (had[0] + had[1] < nanoseconds);
    return static_cast<double>(had[0]) / static_cast<double>(had[0] + had[1]);
  }
  runtime::Worker worker{std::make_unique<MeteredDevice>()};
};

TEST_F(Crowd, SharesEquallyBetweenUsers) {
  const Flood first(worker, 1, 100'000), second(worker, 2, 400'000);
  EXPECT_NEAR(part_of_first(first, second), 0.5, 0.05);
}

TEST_F(Crowd, SharesByWeight) {
  worker.set_weight(1, 3);
  const Flood first(worker, 1, 200'000), second(worker, 2, 200'000);
  EXPECT_NEAR(part_of_first(first, second), 0.75, 0.075);
}

TEST_F(Crowd, GivesNoMoreToManyQueues) {
  const Flood first(worker, 1, 200'000, 8), second(worker, 2, 200'000, 1);
  EXPECT_NEAR(part_of_first(first, second), 0.5, 0.05);
}

TEST_F(Crowd, PutsAHigherPriorityFirst) {
  const Flood first(worker, 1, 200'000, 1, 1), second(worker, 2, 200'000, 1, 0);
  EXPECT_GT(part_of_first(first, second), 0.9);
}

TEST_F(Crowd, AnswersParkedQueuesWhileTheThreadNeverSleeps) {
  TestSession busy_client(worker), client(worker, {.queues = 100});
  TestQueue busy(worker, busy_client.session);
  std::atomic<bool> stop = false;
  std::thread flood([&] {
    transport::Completion completion;
    while (!stop) {
      busy.ring.submit(mlring_descriptor{});
      while (busy.ring.poll(completion)) {
      }
    }
  });
  std::deque<TestQueue> queues;
  for (int i = 0; i < 100; ++i) queues.emplace_back(worker, client.session);
  for (int round = 0; round < 3; ++round) {
    for (TestQueue& queue : queues) EXPECT_EQ(queue.run({}).status(), MLRING_OK);
  }
  stop = true;
  flood.join();
}

}  // namespace
}  // namespace ml
