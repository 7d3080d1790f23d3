// Training stands still between two steps while a server of the device has work, but not for ever.
#include "engine/runtime/preemption.h"

#include <gtest/gtest.h>

#include <thread>

#include "engine/runtime/clock.h"
#include "tests/unit/runtime/client.h"
#include "tests/unit/runtime/gate_device.h"

namespace ml {
namespace {

using namespace test;
using runtime::PreemptionPage;
using runtime::PreemptionRole;

std::uint32_t load(const std::uint32_t& word) { return __atomic_load_n(&word, __ATOMIC_SEQ_CST); }
void wait_until_is(const std::uint32_t& word, std::uint32_t value) {
  while (load(word) != value) std::this_thread::yield();
}

// A training worker in the middle of a plan that never ends by itself.
class Training : public testing::Test {
 protected:
  Training() {
    running = queue.submit(loop_without_end(client, queue));
    // Having stood still once it is in the middle of it.
    __atomic_store_n(&pages[0].demand, 1, __ATOMIC_SEQ_CST);
    wait_until_is(pages[0].standing, 1);
    runtime::reset_demand(pages[0]);
    wait_until_is(pages[0].standing, 0);
  }

  std::vector<PreemptionPage> pages = std::vector<PreemptionPage>(2);
  TestClient client{create_reference_device(),
                    {.preemption = {&pages[0], &pages[1]}, .role = PreemptionRole::training}};
  TestQueue queue{client.worker, client.session};
  std::uint64_t running = 0;
};

TEST_F(Training, StandsStillWhileAnyOfItsDevicesIsWanted) {
  for (PreemptionPage& page : pages) {
    const std::uint64_t before = client.worker.preemptions().switches;
    runtime::Demand demand({&page});
    demand.update(true, runtime::monotonic_now());
    wait_until_is(page.standing, 1);
    const runtime::PreemptionGate::Counts counts = client.worker.preemptions();
    EXPECT_GT(counts.switches, before);  // it goes on now and then: more than one on a busy machine
    EXPECT_GT(counts.longest_kernel_ns, 0u);
    EXPECT_LE(counts.switch_ns_longest, counts.switch_ns_total);
    EXPECT_EQ(load(pages[0].standing) + load(pages[1].standing), 1u);
    EXPECT_EQ(queue.run({}).status(), MLRING_OK) << "only executions stand still";
    std::uint64_t now = runtime::monotonic_now();
    demand.update(false, now);
    EXPECT_EQ(load(page.demand), 1u) << "it lingers";
    EXPECT_EQ(demand.next_update(), now + runtime::kLinger);
    demand.update(false, now + runtime::kLinger);
    EXPECT_EQ(demand.next_update(), 0u);
    EXPECT_EQ(load(page.demand), 0u);
    wait_until_is(page.standing, 0);
  }
}

TEST_F(Training, GoesOnNowAndThenUnderADemandThatStays) {
  runtime::Demand demand({pages.data()});
  demand.update(true, runtime::monotonic_now());
  while (client.worker.preemptions().switches < 3) std::this_thread::yield();
}

TEST_F(Training, IsCancelledWhileItStandsStill) {
  runtime::Demand demand({pages.data()});
  demand.update(true, runtime::monotonic_now());
  wait_until_is(pages[0].standing, 1);
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_CANCEL, running)).completion.bytes, 1u);
  EXPECT_EQ(queue.wait(running).status(), MLRING_CANCELLED);
}

TEST_F(Training, GoesOnWhenTheServerHasDied) {
  __atomic_store_n(&pages[0].demand, 1, __ATOMIC_SEQ_CST);
  wait_until_is(pages[0].standing, 1);
  runtime::reset_demand(pages[0]);
  wait_until_is(pages[0].standing, 0);
}

TEST(Serving, DemandsTheDeviceWhileItHasExecutions) {
  PreemptionPage page{};
  const std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  TestClient client(std::make_unique<GateDevice>(gate), {.preemption = {&page}});
  TestQueue queue(client.worker, client.session);
  EXPECT_EQ(queue.run({}).status(), MLRING_OK);
  EXPECT_EQ(load(page.demand), 0u) << "a NOP needs no device";
  const std::uint64_t before = runtime::monotonic_now();
  const auto slow = queue.submit(descriptor_of(MLRING_OP_ALLOC, GateDevice::kGated));
  gate->wait_for_arrival();
  EXPECT_EQ(load(page.demand), 1u);
  EXPECT_GE(__atomic_load_n(&page.demanded_at, __ATOMIC_SEQ_CST), before);
  gate->open();
  EXPECT_EQ(queue.wait(slow).status(), MLRING_OK);
  wait_until_is(page.demand, 0);
}

TEST(Serving, LeavesNoDemandBehind) {
  PreemptionPage page{};
  const std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  {
    TestClient client(std::make_unique<GateDevice>(gate), {.preemption = {&page}});
    TestQueue queue(client.worker, client.session);
    queue.submit(descriptor_of(MLRING_OP_ALLOC, GateDevice::kGated));
    gate->wait_for_arrival();
    gate->open();
  }
  EXPECT_EQ(load(page.demand), 0u);
}

TEST(Serving, LowersNothingThatWasResetMeanwhile) {
  PreemptionPage page{};
  {
    runtime::Demand demand({&page});
    demand.update(true, 1);
    runtime::reset_demand(page);
  }
  EXPECT_EQ(load(page.demand), 0u);
}

}  // namespace
}  // namespace ml
