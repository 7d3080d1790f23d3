// The two ends together: what comes in goes out once, flow stops when nobody reads, sleepers are woken.
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "ml/error.h"
#include "tests/unit/ring/ring_pair.h"

namespace ml::test {
namespace {

using runtime::TakenDescriptor;
using transport::Completion;
using transport::RingState;

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return poll(&p, 1, 0) == 1;
}

TEST(RingEnds, AnswerCarriesWhatTheWorkerSaid) {
  RingPair ring(8);
  mlring_descriptor d{};
  d.opcode = MLRING_OP_ALLOC;
  d.operand = 4096;
  d.user_data = 0xabcdef0123456789u;
  d.flags = MLRING_AFTER;
  d.deadline = 99;
  EXPECT_EQ(ring.client.next_sequence(), MLRING_START);
  ASSERT_TRUE(ring.client.submit(d));
  std::array<TakenDescriptor, 4> taken;
  ASSERT_EQ(ring.worker.take(taken, 10), 1u);
  EXPECT_EQ(taken[0].sequence, MLRING_START);
  EXPECT_EQ(taken[0].descriptor.operand, 4096u);
  EXPECT_EQ(taken[0].descriptor.flags, MLRING_AFTER);
  EXPECT_EQ(taken[0].descriptor.deadline, 99u);
  EXPECT_EQ(ring.worker.in_flight(), 1u);
  mlring_completion answer{};
  answer.status = MLRING_OUT_OF_MEMORY;
  answer.result = {7, 8};
  answer.bytes = 4096;
  answer.started = 20;
  answer.ended = 30;
  ring.worker.complete(taken[0].slot, answer, "nothing left");
  Completion got{};
  std::string message = "old";
  EXPECT_FALSE(ring.client.poll(got, &message)) << "not published yet";
  ring.worker.publish();
  ASSERT_TRUE(ring.client.poll(got, &message));
  EXPECT_EQ(got.sequence, MLRING_START);
  EXPECT_EQ(got.entry.user_data, 0xabcdef0123456789u);
  EXPECT_EQ(got.entry.status, MLRING_OUT_OF_MEMORY);
  EXPECT_EQ(got.entry.result.index, 7u);
  EXPECT_EQ(got.entry.result.generation, 8u);
  EXPECT_EQ(got.entry.bytes, 4096u);
  EXPECT_EQ(got.entry.submitted, 10u);
  EXPECT_EQ(got.entry.started, 20u);
  EXPECT_EQ(got.entry.ended, 30u);
  EXPECT_EQ(message, "nothing left");
  EXPECT_EQ(ring.client.completed_sequence(), uint64_t{MLRING_START} + 1);
  EXPECT_FALSE(ring.client.poll(got));
}

TEST(RingEnds, SequencesAndIndicesWrapAtEveryDepth) {
  for (const uint32_t depth : {2u, 8u, 64u, 1024u}) {
    RingPair ring(depth);
    uint64_t expected = MLRING_START;
    for (int round = 0; round < 300; ++round) {
      const std::vector<mlring_descriptor> batch(1 + round % depth, nop(expected));
      const std::size_t sent = ring.client.submit(batch);
      ASSERT_EQ(sent, batch.size());
      ASSERT_EQ(ring.serve(), sent);
      Completion got{};
      for (std::size_t i = 0; i < sent; ++i) {
        ASSERT_TRUE(ring.client.poll(got));
        ASSERT_EQ(got.sequence, expected++);
      }
    }
    EXPECT_GT(expected, uint64_t{1} << 32) << "the test must wrap";
    EXPECT_EQ(ring.client.state(), RingState::active);
    EXPECT_EQ(ring.worker.fault(), MLRING_FAULT_NONE);
  }
}

TEST(RingEnds, FullMeansAgainUntilCompletionsAreRead) {
  RingPair ring(8);
  const std::vector<mlring_descriptor> batch(12, nop());
  EXPECT_EQ(ring.client.submit(batch), 8u);
  EXPECT_EQ(ring.client.credits(), 0u);
  EXPECT_EQ(ring.client.submit(batch), 0u);
  EXPECT_EQ(ring.serve(), 8u);
  EXPECT_EQ(ring.client.submit(batch), 0u) << "completions take the place until they are read";
  Completion got{};
  ASSERT_TRUE(ring.client.poll(got));
  ASSERT_TRUE(ring.client.poll(got));
  EXPECT_EQ(ring.client.credits(), 2u);
  EXPECT_EQ(ring.client.submit(batch), 2u);
  EXPECT_EQ(ring.client.state(), RingState::active);
}

TEST(RingEnds, OneSlowDescriptorHoldsUpNothingButTheWatermark) {
  RingPair ring(4);
  std::array<TakenDescriptor, 1> slow;
  ASSERT_TRUE(ring.client.submit(nop(77)));
  ASSERT_EQ(ring.worker.take(slow, 1), 1u);
  Completion got{};
  for (uint64_t i = 1; i <= 100; ++i) {
    ASSERT_TRUE(ring.client.submit(nop(i)));
    ASSERT_EQ(ring.serve(), 1u);
    ASSERT_TRUE(ring.client.poll(got));
    ASSERT_EQ(got.entry.user_data, i);
    ASSERT_EQ(ring.client.completed_sequence(), MLRING_START);
  }
  ring.worker.complete(slow[0].slot, {});
  ring.worker.publish();
  ASSERT_TRUE(ring.client.poll(got));
  EXPECT_EQ(got.entry.user_data, 77u);
  EXPECT_EQ(got.sequence, MLRING_START);
  EXPECT_EQ(ring.client.completed_sequence(), uint64_t{MLRING_START} + 101);
}

TEST(RingEnds, AnswersInAnyOrderKeepTheWatermarkRight) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  RingPair ring(32);
  std::vector<TakenDescriptor> open;
  std::vector<bool> answered;
  uint64_t first_open = MLRING_START;
  for (int step = 0; step < 5000; ++step) {
    if (random() % 2 == 0) ring.client.submit(std::vector<mlring_descriptor>(random() % 5, nop(step)));
    std::array<TakenDescriptor, 3> taken;
    const std::size_t n = ring.worker.take(taken, 1);
    open.insert(open.end(), taken.begin(), taken.begin() + static_cast<std::ptrdiff_t>(n));
    answered.resize(answered.size() + n);
    if (!open.empty() && random() % 3 != 0) {
      std::swap(open[random() % open.size()], open.back());
      ring.worker.complete(open.back().slot, {});
      answered[open.back().sequence - MLRING_START] = true;
      open.pop_back();
      ring.worker.publish();
    }
    Completion got{};
    if (random() % 2 == 0 && ring.client.poll(got)) {
      ASSERT_TRUE(answered[got.sequence - MLRING_START]);
    }
    while (first_open - MLRING_START < answered.size() && answered[first_open - MLRING_START]) ++first_open;
    ASSERT_EQ(ring.worker.completed_sequence(), first_open);
    ASSERT_EQ(ring.client.completed_sequence(), first_open);
  }
  EXPECT_EQ(ring.client.state(), RingState::active);
}

TEST(RingEnds, RefusedDescriptorIsAnsweredAndTheNextOneServed) {
  RingPair ring(8);
  mlring_descriptor bad = nop(1);
  bad.reserved[1] = 5;
  const std::vector<mlring_descriptor> batch{nop(0), bad, nop(2)};
  ASSERT_EQ(ring.client.submit(batch), 3u);
  std::array<TakenDescriptor, 8> taken;
  ASSERT_EQ(ring.worker.take(taken, 5), 2u);
  EXPECT_EQ(taken[1].sequence, uint64_t{MLRING_START} + 2);
  ring.worker.publish();
  Completion got{};
  std::string message;
  ASSERT_TRUE(ring.client.poll(got, &message));
  EXPECT_EQ(got.entry.user_data, 1u);
  EXPECT_EQ(got.entry.status, MLRING_INVALID_ARGUMENT);
  EXPECT_EQ(message, "reserved fields must be zero");
  EXPECT_EQ(ring.worker.fault(), MLRING_FAULT_NONE);
}

TEST(RingMessages, ManyMessagesWrapAroundTheErrorArea) {
  RingPair ring(16);
  std::array<TakenDescriptor, 16> taken;
  std::deque<std::string> expected;
  for (int round = 0; round < 400; ++round) {
    ASSERT_TRUE(ring.client.submit(nop()));
    ASSERT_EQ(ring.worker.take(taken, 1), 1u);
    expected.emplace_back(static_cast<std::size_t>(round * 37 % 4096 + 1), static_cast<char>('a' + round % 26));
    ring.worker.complete(taken[0].slot, {}, expected.back());
    ring.worker.publish();
    if (round < 5) continue;  // the client lags behind
    Completion got{};
    std::string message;
    ASSERT_TRUE(ring.client.poll(got, &message));
    ASSERT_EQ(message, expected.front()) << round;
    expected.pop_front();
  }
}

TEST(RingMessages, WithoutRoomAMessageIsCutAndTheAnswerComes) {
  RingPair ring(64);
  ASSERT_EQ(ring.client.submit(std::vector<mlring_descriptor>(64, nop())), 64u);
  std::array<TakenDescriptor, 64> taken;
  ASSERT_EQ(ring.worker.take(taken, 1), 64u);
  for (const TakenDescriptor& t : taken) ring.worker.complete(t.slot, {}, std::string(5000, 'x'));
  ring.worker.publish();
  Completion got{};
  std::string message;
  for (int i = 0; i < 64; ++i) {
    ASSERT_TRUE(ring.client.poll(got, &message));
    EXPECT_EQ(message.size(), i < 16 ? MLRING_MESSAGE_MAX : 0u) << i;
  }
}

TEST(RingMessages, AreNotCutInTheMiddleOfACharacter) {
  RingPair ring(8);
  std::array<TakenDescriptor, 1> taken;
  ASSERT_TRUE(ring.client.submit(nop()));
  ASSERT_EQ(ring.worker.take(taken, 1), 1u);
  std::string text(MLRING_MESSAGE_MAX - 1, 'x');
  ring.worker.complete(taken[0].slot, {}, text + "\u00e9");
  ring.worker.publish();
  Completion got{};
  std::string message;
  ASSERT_TRUE(ring.client.poll(got, &message));
  EXPECT_EQ(message, text);
}

TEST(RingSleep, ParkedRingNeedsOneDoorbell) {
  RingPair ring(8);
  ASSERT_TRUE(ring.worker.park());
  EXPECT_FALSE(readable(ring.memory.doorbell_fd()));
  ASSERT_TRUE(ring.client.submit(nop()));
  EXPECT_TRUE(readable(ring.memory.doorbell_fd()));
  uint64_t rings = 0;
  ASSERT_EQ(read(ring.memory.doorbell_fd(), &rings, sizeof rings), 8);
  EXPECT_EQ(rings, 1u);
  ASSERT_TRUE(ring.client.submit(nop()));
  EXPECT_FALSE(readable(ring.memory.doorbell_fd())) << "once per park";
  ring.worker.unpark();
  EXPECT_EQ(ring.serve(), 2u);
  ASSERT_TRUE(ring.client.submit(nop()));
  EXPECT_FALSE(readable(ring.memory.doorbell_fd())) << "awake";
}

TEST(RingSleep, ParkingSeesWhatArrivedMeanwhile) {
  RingPair ring(8);
  ASSERT_TRUE(ring.client.submit(nop()));
  EXPECT_FALSE(ring.worker.park());
  EXPECT_FALSE(ring.worker.parked());
  EXPECT_EQ(ring.serve(), 1u);
}

TEST(RingSleep, ArmedClientIsWokenWhenEnoughIsThere) {
  RingPair ring(8);
  ASSERT_EQ(ring.client.submit(std::vector<mlring_descriptor>(3, nop())), 3u);
  ASSERT_TRUE(ring.client.arm(2));
  std::array<TakenDescriptor, 3> taken;
  ASSERT_EQ(ring.worker.take(taken, 1), 3u);
  ring.worker.complete(taken[0].slot, {});
  ring.worker.publish();
  EXPECT_FALSE(readable(ring.client.fd()));
  ring.worker.complete(taken[1].slot, {});
  ring.worker.publish();
  EXPECT_TRUE(readable(ring.client.fd()));
  ring.client.disarm();
  EXPECT_FALSE(readable(ring.client.fd()));
  EXPECT_FALSE(ring.client.arm(2)) << "something is there already";
  ring.client.disarm();
}

TEST(RingSleep, WaitEndsAtItsDeadline) {
  RingPair ring(8);
  ASSERT_TRUE(ring.client.submit(nop()));
  EXPECT_FALSE(ring.client.wait({.deadline = 1}));
  EXPECT_EQ(ring.serve(), 1u);
  EXPECT_TRUE(ring.client.wait({.deadline = 1}));
}

TEST(RingState, OwnerEndsItOnceAndWakesBothSides) {
  RingPair ring(8);
  ASSERT_TRUE(ring.client.arm());
  ring.memory.set_state(MLRING_STATE_LOST);
  ring.memory.set_state(MLRING_STATE_CLOSED);
  EXPECT_TRUE(readable(ring.client.fd()));
  EXPECT_TRUE(readable(ring.memory.doorbell_fd()));
  EXPECT_EQ(ring.client.state(), RingState::lost);
  EXPECT_FALSE(ring.client.submit(nop()));
  EXPECT_FALSE(ring.client.wait());
}

TEST(RingState, CompletionsBeforeTheEndCanStillBeRead) {
  RingPair ring(8);
  ASSERT_TRUE(ring.client.submit(nop(5)));
  ASSERT_EQ(ring.serve(), 1u);
  ring.memory.set_state(MLRING_STATE_CLOSED);
  EXPECT_TRUE(ring.client.wait());
  Completion got{};
  ASSERT_TRUE(ring.client.poll(got));
  EXPECT_EQ(got.entry.user_data, 5u);
  EXPECT_EQ(ring.client.state(), RingState::closed);
}

TEST(RingMaking, RefusesDepthsSizesAndSealsThatCannotBe) {
  EXPECT_THROW(runtime::RingMemory(0), Error);
  EXPECT_THROW(runtime::RingMemory(3), Error);
  EXPECT_THROW(runtime::RingMemory(MLRING_DEPTH_MAX * 2), Error);
  runtime::RingMemory memory(8);
  EXPECT_THROW(transport::RingMapping(memory.memory_fd(), 3), Error);
  EXPECT_THROW(transport::RingMapping(memory.memory_fd(), 1024), Error);
  EXPECT_THROW(transport::RingMapping(-1, 8), Error);
  const int unsealed = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  mlring_layout layout{};
  ASSERT_TRUE(mlring_compute_layout(&layout, 8, 4096));
  ASSERT_EQ(ftruncate(unsealed, static_cast<off_t>(layout.bytes)), 0);
  EXPECT_THROW(transport::RingMapping(unsealed, 8), Error);
  close(unsealed);
}

}  // namespace
}  // namespace ml::test
