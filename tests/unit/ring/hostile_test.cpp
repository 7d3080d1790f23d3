// One side breaks the rules: the other ends that queue, for good, and nothing else happens.
#include <gtest/gtest.h>
#include <poll.h>

#include <functional>
#include <string>

#include "tests/unit/ring/ring_pair.h"

namespace ml::test {
namespace {

using runtime::TakenDescriptor;
using transport::Completion;
using transport::RingState;

constexpr uint32_t depth = 8;

struct Attack {
  const char* name;
  std::function<void(HostileView&)> act;
  uint32_t fault;
};

// Before each attack: five answered descriptors read by the client, one answered and unread, one in flight.
void warm_up(RingPair& ring, std::array<TakenDescriptor, 1>& in_flight) {
  Completion got{};
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(ring.client.submit(nop()));
    ASSERT_EQ(ring.serve(), 1u);
    ASSERT_TRUE(ring.client.poll(got));
  }
  ASSERT_TRUE(ring.client.submit(nop()));
  ASSERT_EQ(ring.serve(), 1u);
  ASSERT_TRUE(ring.client.submit(nop()));
  ASSERT_EQ(ring.worker.take(in_flight, 1), 1u);
}

TEST(HostileClient, ImpossibleIndexEndsTheQueueForGood) {
  const uint32_t start = MLRING_START;
  const Attack attacks[] = {
      {"tail beyond the ring", [=](auto& v) { v.submission().tail = start + 7 + depth + 1; },
       MLRING_FAULT_SUBMISSION_TAIL},
      {"tail far away", [=](auto& v) { v.submission().tail = start + 0x80000000u; }, MLRING_FAULT_SUBMISSION_TAIL},
      {"tail moved back", [=](auto& v) { v.submission().tail = start + 6; }, MLRING_FAULT_SUBMISSION_TAIL},
      {"tail zero", [=](auto& v) { v.submission().tail = 0x7fffffff; }, MLRING_FAULT_SUBMISSION_TAIL},
  };
  for (const Attack& attack : attacks) {
    SCOPED_TRACE(attack.name);
    RingPair ring(depth);
    RingPair other(depth);
    HostileView view(ring.memory.memory_fd(), depth);
    std::array<TakenDescriptor, 1> in_flight;
    warm_up(ring, in_flight);
    const uint32_t honest = view.submission().tail;
    attack.act(view);
    std::array<TakenDescriptor, 8> taken;
    EXPECT_EQ(ring.worker.take(taken, 1), 0u);
    EXPECT_EQ(ring.worker.fault(), attack.fault);
    EXPECT_EQ(view.completion().fault, attack.fault);
    EXPECT_EQ(ring.client.state(), RingState::faulted);
    EXPECT_FALSE(ring.client.submit(nop()));

    view.submission().tail = honest + 1;  // repentance comes too late
    EXPECT_EQ(ring.worker.take(taken, 1), 0u);
    EXPECT_FALSE(ring.worker.pending());
    const uint32_t published = view.completion().completion_tail;
    ring.worker.complete(in_flight[0].slot, {}, "ignored");
    EXPECT_FALSE(ring.worker.publish());
    EXPECT_EQ(view.completion().completion_tail, published);

    ASSERT_TRUE(other.client.submit(nop()));
    EXPECT_EQ(other.serve(), 1u) << "a second queue never notices";
  }
}

TEST(HostileClient, ImpossibleCompletionHeadEndsTheQueueForGood) {
  for (const uint32_t head : {MLRING_START + 7, MLRING_START - 1, MLRING_START + 0x80000000u, 0x1234u}) {
    SCOPED_TRACE(head);
    RingPair ring(depth);
    HostileView view(ring.memory.memory_fd(), depth);
    std::array<TakenDescriptor, 1> in_flight;
    warm_up(ring, in_flight);
    view.submission().completion_head = head;
    view.submission().tail = MLRING_START + 7 + depth;  // more than there are credits: the worker must look
    std::array<TakenDescriptor, 16> taken;
    while (ring.worker.fault() == MLRING_FAULT_NONE && ring.worker.take(taken, 1) != 0) {
    }
    EXPECT_EQ(ring.worker.fault(), MLRING_FAULT_COMPLETION_HEAD);
  }
}

TEST(HostileClient, OneThatNeverReadsHarmsOnlyItself) {
  RingPair ring(depth);
  HostileView view(ring.memory.memory_fd(), depth);
  view.submission().tail = MLRING_START + depth;
  EXPECT_EQ(ring.serve(), depth);
  view.submission().tail = MLRING_START + 2 * depth;  // possible by the index rule, but without credits
  EXPECT_EQ(ring.serve(), 0u);
  EXPECT_FALSE(ring.worker.pending());
  EXPECT_EQ(ring.worker.fault(), MLRING_FAULT_NONE);
  EXPECT_TRUE(ring.worker.park()) << "nothing to poll for";
  view.submission().completion_head = MLRING_START + 3;
  ring.worker.unpark();
  EXPECT_EQ(ring.serve(), 3u);
}

TEST(HostileClient, DescriptorRewrittenBehindTheCopyChangesNothing) {
  RingPair ring(depth);
  HostileView view(ring.memory.memory_fd(), depth);
  mlring_descriptor d = nop(3);
  d.opcode = MLRING_OP_ALLOC;
  d.operand = 64;
  ASSERT_TRUE(ring.client.submit(d));
  std::array<TakenDescriptor, 1> taken;
  ASSERT_EQ(ring.worker.take(taken, 1), 1u);
  view.descriptor(MLRING_START).operand = UINT64_MAX;
  view.descriptor(MLRING_START).user_data = 12345;
  EXPECT_EQ(taken[0].descriptor.operand, 64u);
  ring.worker.complete(taken[0].slot, {});
  ring.worker.publish();
  Completion got{};
  ASSERT_TRUE(ring.client.poll(got));
  EXPECT_EQ(got.entry.user_data, 3u);
}

TEST(HostileClient, GarbageDescriptorsAreEachAnsweredOnce) {
  RingPair ring(depth);
  HostileView view(ring.memory.memory_fd(), depth);
  for (uint32_t i = 0; i < depth; ++i) {
    mlring_descriptor& d = view.descriptor(MLRING_START + i);
    d.opcode = 1000 + i;
    d.reserved[0] = i;
    d.argument_count = UINT32_MAX;
  }
  view.submission().tail = MLRING_START + depth;
  std::array<TakenDescriptor, 16> taken;
  EXPECT_EQ(ring.worker.take(taken, 1), 0u);
  ring.worker.publish();
  EXPECT_EQ(view.completion().completion_tail, MLRING_START + depth);
  for (uint32_t i = 0; i < depth; ++i) EXPECT_EQ(view.completed(MLRING_START + i).status, MLRING_INVALID_ARGUMENT);
  EXPECT_EQ(ring.worker.fault(), MLRING_FAULT_NONE);
}

TEST(HostileWorker, ImpossibleAnswerEndsTheQueueForGood) {
  const uint32_t start = MLRING_START;
  const Attack attacks[] = {
      {"tail beyond the ring", [=](auto& v) { v.completion().completion_tail = start + 5 + depth + 1; },
       MLRING_FAULT_COMPLETION_TAIL},
      {"tail far away", [=](auto& v) { v.completion().completion_tail = start - 0x1000; },
       MLRING_FAULT_COMPLETION_TAIL},
      {"tail moved back", [=](auto& v) { v.completion().completion_tail = start + 4; }, MLRING_FAULT_COMPLETION_TAIL},
      {"answer to what was answered", [=](auto& v) { v.completed(start + 5) = v.completed(start + 4); },
       MLRING_FAULT_SEQUENCE},
      {"answer to nothing", [=](auto& v) { v.completed(start + 5).sequence = start + 100; }, MLRING_FAULT_SEQUENCE},
      {"impossible slot", [=](auto& v) { v.completed(start + 5).user_data = depth; }, MLRING_FAULT_SEQUENCE},
      {"wild slot", [=](auto& v) { v.completed(start + 5).user_data = UINT64_MAX; }, MLRING_FAULT_SEQUENCE},
      {"message outside", [=](auto& v) { v.completed(start + 5).message_offset = MLRING_ERROR_BYTES + 1; },
       MLRING_FAULT_MESSAGE},
      {"message too long", [=](auto& v) { v.completed(start + 5).message_length = UINT32_MAX; }, MLRING_FAULT_MESSAGE},
  };
  for (const Attack& attack : attacks) {
    SCOPED_TRACE(attack.name);
    RingPair ring(depth);
    HostileView view(ring.memory.memory_fd(), depth);
    std::array<TakenDescriptor, 1> in_flight;
    warm_up(ring, in_flight);
    const uint32_t honest = view.completion().completion_tail;
    attack.act(view);
    Completion got{};
    std::string message;
    EXPECT_FALSE(ring.client.poll(got, &message));
    EXPECT_EQ(ring.client.fault(), attack.fault);
    EXPECT_EQ(ring.client.state(), RingState::faulted);

    view.completion().completion_tail = honest;  // repentance comes too late
    EXPECT_FALSE(ring.client.ready());
    EXPECT_FALSE(ring.client.wait());
    EXPECT_FALSE(ring.client.submit(nop()));
  }
}

TEST(HostileWorker, MoreAnswersThanQuestionsEndTheQueue) {
  RingPair ring(depth);
  HostileView view(ring.memory.memory_fd(), depth);
  ASSERT_TRUE(ring.client.submit(nop()));
  ASSERT_EQ(ring.serve(), 1u);
  view.completion().completion_tail += 1;
  Completion got{};
  EXPECT_TRUE(ring.client.poll(got));
  EXPECT_FALSE(ring.client.poll(got));
  EXPECT_EQ(ring.client.fault(), MLRING_FAULT_SEQUENCE);
}

TEST(HostileWorker, WatermarkThatCannotBeEndsTheQueue) {
  for (const uint64_t sequence : {uint64_t{MLRING_START} + 2, uint64_t{0}, UINT64_MAX}) {
    RingPair ring(depth);
    HostileView view(ring.memory.memory_fd(), depth);
    ASSERT_TRUE(ring.client.submit(nop()));
    view.completion().completed_sequence = sequence;
    EXPECT_EQ(ring.client.completed_sequence(), MLRING_START);
    EXPECT_EQ(ring.client.fault(), MLRING_FAULT_SEQUENCE);
  }
}

TEST(HostileWorker, UserDataIsTheCallersOwn) {
  RingPair ring(depth);
  HostileView view(ring.memory.memory_fd(), depth);
  ASSERT_TRUE(ring.client.submit(nop(0x1122334455667788u)));
  EXPECT_NE(view.descriptor(MLRING_START).user_data, 0x1122334455667788u) << "pointers are not shown to the worker";
  ASSERT_EQ(ring.serve(), 1u);
  Completion got{};
  ASSERT_TRUE(ring.client.poll(got));
  EXPECT_EQ(got.entry.user_data, 0x1122334455667788u);
}

TEST(HostileOwner, UnknownStateIsAFault) {
  RingPair ring(depth);
  HostileView view(ring.memory.memory_fd(), depth);
  view.state().state = 77;
  EXPECT_EQ(ring.client.state(), RingState::faulted);
  EXPECT_FALSE(ring.client.submit(nop()));
}

}  // namespace
}  // namespace ml::test
