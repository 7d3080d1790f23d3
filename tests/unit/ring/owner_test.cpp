// A queue whose owner wakes the client itself, as the kernel does: when it is told, and what.
#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/ring/ring_pair.h"

namespace ml {
namespace {

using namespace test;

struct Owner final : runtime::RingOwner {
  void notify(bool wake) override { notices.push_back(wake); }
  std::vector<bool> notices;
};

class OwnedRing : public testing::Test {
 protected:
  void answer_one() {
    ASSERT_TRUE(client.submit(nop()));
    runtime::TakenDescriptor taken{};
    ASSERT_EQ(worker.take({&taken, 1}, 1), 1u);
    worker.complete(taken.slot, {});
  }

  static constexpr std::uint32_t kDepth = 8;
  runtime::RingMemory memory{kDepth};
  transport::RingMapping mapping{memory.memory_fd(), kDepth};
  HostileView view{memory.memory_fd(), kDepth};
  Owner owner;
  runtime::WorkerRing worker{memory.worker_pages(), -1, nullptr, &owner};
  transport::ClientRing client{mapping.pages(), memory.doorbell_fd(), memory.wake_fd()};
};

TEST_F(OwnedRing, IsToldNothingWhileNobodyWaits) {
  answer_one();
  EXPECT_FALSE(worker.publish());
  EXPECT_TRUE(owner.notices.empty());
}

TEST_F(OwnedRing, IsToldToWakeAClientThatSleeps) {
  ASSERT_TRUE(client.arm());
  answer_one();
  EXPECT_FALSE(worker.publish());
  EXPECT_EQ(owner.notices, std::vector<bool>{true});
}

TEST_F(OwnedRing, IsToldOfASequenceThatItWaitsFor) {
  MLRING_STORE(&view.state().notify_at, std::uint64_t{MLRING_START} + 1);
  answer_one();
  EXPECT_FALSE(worker.publish());
  EXPECT_TRUE(owner.notices.empty());
  answer_one();
  EXPECT_TRUE(worker.publish());
  EXPECT_EQ(owner.notices, std::vector<bool>{false});
}

TEST_F(OwnedRing, IsToldOnceOfBoth) {
  MLRING_STORE(&view.state().notify_at, std::uint64_t{MLRING_START});
  ASSERT_TRUE(client.arm());
  answer_one();
  EXPECT_TRUE(worker.publish());
  EXPECT_EQ(owner.notices, std::vector<bool>{true});
}

TEST_F(OwnedRing, IsToldOfAFault) {
  MLRING_STORE(&view.submission().tail, MLRING_START + kDepth + 1);
  EXPECT_FALSE(worker.pending());
  EXPECT_EQ(owner.notices, std::vector<bool>{true});
  EXPECT_EQ(client.state(), transport::RingState::faulted);
}

TEST_F(OwnedRing, SaysSinceWhenItRuns) {
  worker.set_running_since(42);
  EXPECT_EQ(view.completion().running_since, 42u);
  worker.set_running_since(0);
  EXPECT_EQ(view.completion().running_since, 0u);
}

}  // namespace
}  // namespace ml
