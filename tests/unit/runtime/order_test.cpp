// In which order descriptors take effect, and how they are kept from it: AFTER, WAIT, CANCEL, deadlines, ends of
// queues.
#include <gtest/gtest.h>

#include <thread>

#include "engine/runtime/clock.h"
#include "tests/unit/runtime/client.h"
#include "tests/unit/runtime/gate_device.h"

namespace ml {
namespace {

using namespace test;

constexpr std::uint64_t kSecond = 1'000'000'000;

class Order : public testing::Test {
 protected:
  ~Order() override { gate->open(); }

  // An ALLOC that doesn't end before the gate opens.
  static mlring_descriptor blocked() { return descriptor_of(MLRING_OP_ALLOC, GateDevice::kGated); }
  // A program whose execution doesn't begin its first step before the gate opens.
  mlring_handle blocked_program(bool donates) {
    constexpr std::int64_t n = GateDevice::kGated / sizeof(float);
    Graph graph;
    const Var x = input(graph, "x", DType::f32, {1});
    const Var wide = broadcast_to(x, {n});
    const Var sum = reduce_sum(sort(wide, 0).first, {0}, true);
    output("y", sum);
    if (donates) graph.donate(0, 0);
    return client.load(a, graph);
  }

  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  TestClient client{std::make_unique<GateDevice>(gate)};
  TestQueue a{client.worker, client.session};
  TestQueue b{client.worker, client.session};
};

TEST_F(Order, LetsAnIndependentDescriptorOvertake) {
  const auto slow = a.submit(blocked());
  EXPECT_EQ(a.run({}).status(), MLRING_OK);
  EXPECT_FALSE(a.answered(slow));
  gate->open();
  EXPECT_EQ(a.wait(slow).status(), MLRING_OK);
}

TEST_F(Order, KeepsAfterBehindEverythingEarlier) {
  const auto slow = a.submit(blocked());
  const auto behind = a.submit(after({}));
  const auto free = a.submit({});
  EXPECT_EQ(a.wait(free).status(), MLRING_OK) << "what comes later without AFTER isn't held up";
  EXPECT_FALSE(a.answered(behind));
  gate->open();
  EXPECT_EQ(a.wait(behind).status(), MLRING_OK);
  EXPECT_TRUE(a.answered(slow));
  EXPECT_GT(a.ring.completed_sequence(), behind);
}

TEST_F(Order, KeepsUsesOfOneHandleInTheirOrder) {
  const mlring_handle memory = a.run(descriptor_of(MLRING_OP_ALLOC, 16)).completion.result;
  const auto one = client.put(std::vector<float>{1, 1, 1, 1}), two = client.put(std::vector<float>{2, 2, 2, 2}),
             out = client.reserve(16);
  const auto in_arena = [&](std::uint32_t direction, std::uint64_t at) {
    return client.argument(direction, DType::f32, {4}, at);
  };
  const auto write = [&](std::uint64_t from) {
    return client.with_arguments(MLRING_OP_COPY,
                                 {in_arena(MLRING_IN, from), client.behind(memory, in_arena(MLRING_OUT, 0))});
  };
  const mlring_descriptor read =
      client.with_arguments(MLRING_OP_COPY, {client.behind(memory, in_arena(MLRING_IN, 0)), in_arena(MLRING_OUT, out)});
  for (int round = 0; round < 20; ++round) {
    a.submit(write(one));
    const auto first = a.submit(read);
    a.submit(write(two));
    a.wait(first);
    const auto second = a.submit(read);
    a.wait(second);
    EXPECT_EQ(client.get(out, 4), (std::vector<float>{2, 2, 2, 2}));
  }
}

TEST_F(Order, WaitsForAnotherQueue) {
  const auto slow = b.submit(blocked());
  const auto wait = a.submit(descriptor_of(MLRING_OP_WAIT, slow, b.handle));
  const auto behind = a.submit(after({}));
  EXPECT_EQ(a.run({}).status(), MLRING_OK);
  EXPECT_FALSE(a.answered(wait));
  EXPECT_FALSE(a.answered(behind));
  gate->open();
  EXPECT_EQ(a.wait(wait).status(), MLRING_OK);
  EXPECT_EQ(a.wait(behind).status(), MLRING_OK);
  EXPECT_EQ(a.run(descriptor_of(MLRING_OP_WAIT, slow, b.handle)).status(), MLRING_OK) << "it is done already";
}

TEST_F(Order, WaitsForADescriptorThatIsStillToCome) {
  const auto wait = a.submit(descriptor_of(MLRING_OP_WAIT, b.ring.next_sequence() + 1, b.handle));
  b.run({});
  EXPECT_EQ(a.run({}).status(), MLRING_OK);
  EXPECT_FALSE(a.answered(wait));
  b.run({});
  EXPECT_EQ(a.wait(wait).status(), MLRING_OK);
}

TEST_F(Order, RefusesToWaitForItselfOrForWhatIsNoQueue) {
  EXPECT_EQ(a.run(descriptor_of(MLRING_OP_WAIT, a.ring.next_sequence(), a.handle)).status(), MLRING_INVALID_ARGUMENT);
  const mlring_handle memory = a.run(descriptor_of(MLRING_OP_ALLOC, 16)).completion.result;
  EXPECT_EQ(a.run(descriptor_of(MLRING_OP_WAIT, 0, memory)).status(), MLRING_NOT_FOUND);
}

TEST_F(Order, EndsAWaitWhoseQueueEnds) {
  const auto wait = a.submit(descriptor_of(MLRING_OP_WAIT, b.ring.next_sequence(), b.handle));
  const auto held = a.submit(after(descriptor_of(MLRING_OP_WAIT, b.ring.next_sequence(), b.handle)));
  a.run({});
  b.destroy();
  EXPECT_EQ(a.wait(wait).status(), MLRING_NOT_FOUND);
  EXPECT_EQ(a.wait(held).status(), MLRING_NOT_FOUND);
}

TEST_F(Order, CancelsWhatHasNotBegun) {
  const auto slow = a.submit(blocked());
  const auto behind = a.submit(after({}));
  const auto wait = a.submit(descriptor_of(MLRING_OP_WAIT, b.ring.next_sequence(), b.handle));
  for (const auto target : {behind, wait}) {
    const Answer answer = a.run(descriptor_of(MLRING_OP_CANCEL, target));
    EXPECT_EQ(answer.status(), MLRING_OK);
    EXPECT_EQ(answer.completion.bytes, 1u);
    EXPECT_EQ(a.wait(target).status(), MLRING_CANCELLED);
  }
  gate->open();
  EXPECT_EQ(a.wait(slow).status(), MLRING_OK);
}

TEST_F(Order, CancelsAnExecutionBetweenItsSteps) {
  const mlring_handle program = blocked_program(false);
  const auto x = client.put(std::vector<float>{1}), y = client.put(std::vector<float>{-1});
  const auto running = a.submit(client.execute(
      program, {client.argument(MLRING_IN, DType::f32, {1}, x), client.argument(MLRING_OUT, DType::f32, {1}, y)}));
  gate->wait_for_arrival();
  EXPECT_EQ(a.run(descriptor_of(MLRING_OP_CANCEL, running)).completion.bytes, 1u);
  EXPECT_FALSE(a.answered(running));
  gate->open();
  EXPECT_EQ(a.wait(running).status(), MLRING_CANCELLED);
  EXPECT_EQ(client.get(y, 1), std::vector<float>{-1});
  EXPECT_EQ(a.run(descriptor_of(MLRING_OP_CANCEL, running)).completion.bytes, 0u) << "it is over";
}

TEST_F(Order, StopsAnExecutionAtItsDeadline) {
  const mlring_handle program = blocked_program(true);
  const auto x = client.put(std::vector<float>{3});
  const mlring_argument state = client.argument(MLRING_INOUT, DType::f32, {1}, x);
  mlring_descriptor d = client.execute(program, {state, state});
  d.deadline = runtime::monotonic_now() + kSecond / 50;
  const auto running = a.submit(d);
  gate->wait_for_arrival();
  // A WAIT with a later deadline ends: by then the first one has been looked at.
  mlring_descriptor later = descriptor_of(MLRING_OP_WAIT, b.ring.next_sequence(), b.handle);
  later.deadline = d.deadline + kSecond / 50;
  EXPECT_EQ(a.run(later).status(), MLRING_TIMEOUT);
  gate->open();
  EXPECT_EQ(a.wait(running).status(), MLRING_TIMEOUT);
  EXPECT_EQ(client.get(x, 1), std::vector<float>{3}) << "the state is as it was";
}

TEST_F(Order, RefusesADeadlineThatHasPassed) {
  mlring_descriptor d{};
  d.deadline = 1;
  EXPECT_EQ(a.run(d).status(), MLRING_TIMEOUT);
}

TEST_F(Order, DropsWhatAQueueLeavesBehindWhenItEnds) {
  const auto slow = a.submit(blocked());
  a.submit(after({}));
  a.submit(blocked());
  EXPECT_EQ(b.run({}).status(), MLRING_OK);
  gate->wait_for_arrival();
  std::thread opener([this] {
    while (a.ring.state() == transport::RingState::active) std::this_thread::yield();
    gate->open();
  });
  a.destroy();  // comes back when the ALLOC has
  opener.join();
  EXPECT_EQ(a.ring.state(), transport::RingState::closed);
  EXPECT_THROW(a.wait(slow), std::exception);
  EXPECT_EQ(b.run({}).status(), MLRING_OK);
}

TEST_F(Order, GivesEveryQueueItsTurn) {
  std::vector<std::uint64_t> many;
  const mlring_descriptor alloc = descriptor_of(MLRING_OP_ALLOC, 16);
  const auto slow = a.submit(blocked());
  gate->wait_for_arrival();
  for (int i = 0; i < 30; ++i) many.push_back(a.submit(alloc));
  const auto other = b.submit(alloc);
  EXPECT_EQ(b.run({}).status(), MLRING_OK);
  EXPECT_FALSE(b.answered(other));
  gate->open();
  EXPECT_EQ(b.wait(other).status(), MLRING_OK);
  for (const auto sequence : many) EXPECT_EQ(a.wait(sequence).status(), MLRING_OK);
  EXPECT_EQ(a.wait(slow).status(), MLRING_OK);
}

}  // namespace
}  // namespace ml
