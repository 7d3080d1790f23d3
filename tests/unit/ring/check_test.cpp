// The checks that stand between two sides which don't trust each other.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "kernel/uapi/mlaccel_ring.h"

namespace {

TEST(RingIndex, MovesForwardOnlyAndNoFartherThanTheLimit) {
  struct Case {
    uint32_t seen, now, limit;
    bool ok;
  };
  const Case cases[] = {
      {0, 0, 0, true},
      {0, 1, 0, false},
      {0, 8, 8, true},
      {0, 9, 8, false},
      {5, 4, 8, false},
      {5, 5, 8, true},
      {0xfffffff0u, 0xfffffff0u, 0, true},
      {0xfffffff0u, 0xffffffffu, 0, true},
      {0xfffffff0u, 0, 0, true},
      {0xfffffff0u, 1, 0, false},
      {0xfffffff0u, 0xffffffefu, 0, false},
      {0xfffffffeu, 6, 6, true},
      {0xfffffffeu, 7, 6, false},
      {7, 0x80000007u, 8, false},
  };
  for (const Case& c : cases) EXPECT_EQ(mlring_index_ok(c.seen, c.now, c.limit), c.ok) << c.seen << ' ' << c.now;
}

TEST(RingIndex, WatermarkStaysBetweenTheLastOneAndWhatWasSubmitted) {
  EXPECT_TRUE(mlring_sequence_ok(5, 5, 5));
  EXPECT_TRUE(mlring_sequence_ok(5, 7, 7));
  EXPECT_FALSE(mlring_sequence_ok(5, 4, 7));
  EXPECT_FALSE(mlring_sequence_ok(5, 8, 7));
  EXPECT_FALSE(mlring_sequence_ok(5, UINT64_MAX, 7));
}

TEST(RingIndex, SequenceIsFoundFromItsLowHalf) {
  EXPECT_EQ(mlring_sequence_from(0xfffffff0u, 0xfffffff0u), 0xfffffff0u);
  EXPECT_EQ(mlring_sequence_from(0xfffffff0u, 0), 0x100000000u);
  EXPECT_EQ(mlring_sequence_from(0x100000005u, 4), 0x200000004u);
  EXPECT_EQ(mlring_sequence_from(0x1fffffffeu, 3), 0x200000003u);
}

TEST(RingRange, RefusesWhatDoesNotLieInside) {
  EXPECT_TRUE(mlring_range_ok(0, 0, 0));
  EXPECT_TRUE(mlring_range_ok(0, 10, 10));
  EXPECT_TRUE(mlring_range_ok(10, 0, 10));
  EXPECT_TRUE(mlring_range_ok(4, 6, 10));
  EXPECT_FALSE(mlring_range_ok(4, 7, 10));
  EXPECT_FALSE(mlring_range_ok(11, 0, 10));
  EXPECT_FALSE(mlring_range_ok(0, 11, 10));
  EXPECT_FALSE(mlring_range_ok(UINT64_MAX, 1, 10));
  EXPECT_FALSE(mlring_range_ok(1, UINT64_MAX, 10));
  EXPECT_FALSE(mlring_range_ok(UINT64_MAX, UINT64_MAX, 10));
}

TEST(RingTensor, CountsBytesAndRefusesOverflow) {
  uint64_t bytes = 7;
  const uint64_t plain[] = {2, 3, 4};
  EXPECT_TRUE(mlring_tensor_bytes(MLRING_F64, 3, plain, &bytes));
  EXPECT_EQ(bytes, 192u);
  EXPECT_TRUE(mlring_tensor_bytes(MLRING_BOOL, 0, plain, &bytes));
  EXPECT_EQ(bytes, 1u);
  const uint64_t empty[] = {5, 0, 7};
  EXPECT_TRUE(mlring_tensor_bytes(MLRING_BF16, 3, empty, &bytes));
  EXPECT_EQ(bytes, 0u);
  const uint64_t huge[] = {uint64_t{1} << 32, uint64_t{1} << 32};
  EXPECT_FALSE(mlring_tensor_bytes(MLRING_U8, 2, huge, &bytes));
  const uint64_t huge_bits[] = {uint64_t{1} << 61};
  EXPECT_FALSE(mlring_tensor_bytes(MLRING_U8, 1, huge_bits, &bytes));
  const uint64_t huge_but_empty[] = {0, uint64_t{1} << 40, uint64_t{1} << 40};
  EXPECT_FALSE(mlring_tensor_bytes(MLRING_U8, 3, huge_but_empty, &bytes));
  EXPECT_FALSE(mlring_tensor_bytes(0, 1, plain, &bytes));
  EXPECT_FALSE(mlring_tensor_bytes(MLRING_U2 + 1, 1, plain, &bytes));
  const uint64_t nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  EXPECT_FALSE(mlring_tensor_bytes(MLRING_U8, 9, nine, &bytes));
}

mlring_descriptor good(uint32_t opcode) {
  mlring_descriptor d{};
  d.opcode = opcode;
  if (opcode == MLRING_OP_EXECUTE || opcode == MLRING_OP_FREE || opcode == MLRING_OP_WAIT) d.handle = {3, 1};
  if (opcode == MLRING_OP_COMPILE) d.argument_count = 1;
  if (opcode == MLRING_OP_COPY) d.argument_count = 2;
  if (d.argument_count != 0) d.argument_arena = 1;
  return d;
}

TEST(RingDescriptor, AcceptsEachOpcodesOwnForm) {
  for (uint32_t opcode = 0; opcode < MLRING_OP_COUNT; ++opcode) {
    mlring_descriptor d = good(opcode);
    EXPECT_EQ(mlring_check_descriptor(&d), 0u) << mlring_opcode_name(opcode);
    d.flags = MLRING_AFTER;
    d.deadline = 12345;
    d.user_data = UINT64_MAX;
    EXPECT_EQ(mlring_check_descriptor(&d), 0u) << mlring_opcode_name(opcode);
  }
}

struct DescriptorCase {
  const char* name;
  uint32_t opcode;
  std::function<void(mlring_descriptor&)> spoil;
  uint32_t refusal;
};

TEST(RingDescriptor, RefusesWhatIsWrongByName) {
  const DescriptorCase cases[] = {
      {"opcode", MLRING_OP_NOP, [](auto& d) { d.opcode = MLRING_OP_COUNT; }, MLRING_REFUSED_OPCODE},
      {"huge opcode", MLRING_OP_NOP, [](auto& d) { d.opcode = UINT32_MAX; }, MLRING_REFUSED_OPCODE},
      {"flag", MLRING_OP_NOP, [](auto& d) { d.flags = 2; }, MLRING_REFUSED_FLAGS},
      {"high flag", MLRING_OP_NOP, [](auto& d) { d.flags = 0x80000001u; }, MLRING_REFUSED_FLAGS},
      {"reserve", MLRING_OP_NOP, [](auto& d) { d.reserved[0] = 1; }, MLRING_REFUSED_RESERVED},
      {"last reserve", MLRING_OP_NOP, [](auto& d) { d.reserved[1] = 0x80000000u; }, MLRING_REFUSED_RESERVED},
      {"handle not wanted", MLRING_OP_NOP,
       [](auto& d) {
         d.handle = {0, 1};
       },
       MLRING_REFUSED_HANDLE},
      {"index without generation", MLRING_OP_ALLOC,
       [](auto& d) {
         d.handle = {1, 0};
       },
       MLRING_REFUSED_HANDLE},
      {"no program", MLRING_OP_EXECUTE, [](auto& d) { d.handle = {}; }, MLRING_REFUSED_HANDLE},
      {"nothing to free", MLRING_OP_FREE,
       [](auto& d) {
         d.handle = {4, 0};
       },
       MLRING_REFUSED_HANDLE},
      {"no queue", MLRING_OP_WAIT, [](auto& d) { d.handle = {}; }, MLRING_REFUSED_HANDLE},
      {"operand", MLRING_OP_EXECUTE, [](auto& d) { d.operand = 1; }, MLRING_REFUSED_OPERAND},
      {"no graph", MLRING_OP_COMPILE, [](auto& d) { d.argument_count = 0; }, MLRING_REFUSED_COUNT},
      {"arguments of NOP", MLRING_OP_NOP, [](auto& d) { d.argument_count = 1; }, MLRING_REFUSED_COUNT},
      {"one to copy", MLRING_OP_COPY, [](auto& d) { d.argument_count = 1; }, MLRING_REFUSED_COUNT},
      {"three to copy", MLRING_OP_COPY, [](auto& d) { d.argument_count = 3; }, MLRING_REFUSED_COUNT},
      {"too many", MLRING_OP_EXECUTE, [](auto& d) { d.argument_count = MLRING_ARGUMENTS_MAX + 1; },
       MLRING_REFUSED_COUNT},
      {"no arena", MLRING_OP_COPY, [](auto& d) { d.argument_arena = 0; }, MLRING_REFUSED_TABLE},
      {"arena without table", MLRING_OP_NOP, [](auto& d) { d.argument_arena = 1; }, MLRING_REFUSED_TABLE},
      {"offset without table", MLRING_OP_NOP, [](auto& d) { d.argument_offset = 8; }, MLRING_REFUSED_TABLE},
      {"crooked table", MLRING_OP_COPY, [](auto& d) { d.argument_offset = 12; }, MLRING_REFUSED_TABLE},
  };
  for (const DescriptorCase& c : cases) {
    mlring_descriptor d = good(c.opcode);
    c.spoil(d);
    EXPECT_EQ(mlring_check_descriptor(&d), c.refusal) << c.name;
  }
}

TEST(RingDescriptor, TableMustLieInItsArena) {
  mlring_descriptor d = good(MLRING_OP_COPY);
  EXPECT_TRUE(mlring_table_ok(&d, 256));
  EXPECT_FALSE(mlring_table_ok(&d, 255));
  d.argument_offset = 8;
  EXPECT_FALSE(mlring_table_ok(&d, 256));
  d.argument_offset = UINT64_MAX - 7;
  EXPECT_FALSE(mlring_table_ok(&d, 256));
}

mlring_argument argument() {
  mlring_argument a{};
  a.direction = MLRING_IN;
  a.dtype = MLRING_F32;
  a.rank = 2;
  a.dims[0] = 3;
  a.dims[1] = 4;
  a.arena = 1;
  a.capacity = 48;
  return a;
}

struct ArgumentCase {
  const char* name;
  std::function<void(mlring_argument&)> change;
  uint32_t refusal;
};

TEST(RingArgument, IsAcceptedOrRefusedByName) {
  const ArgumentCase cases[] = {
      {"as it is", [](auto&) {}, 0},
      {"scalar", [](auto& a) { a.rank = 0, a.dims[0] = a.dims[1] = 0; }, 0},
      {"empty", [](auto& a) { a.dims[0] = 0, a.capacity = 0; }, 0},
      {"behind a handle",
       [](auto& a) {
         a.arena = 0, a.handle = {0, 9};
       },
       0},
      {"output of any dims", [](auto& a) { a.direction = MLRING_OUT, a.rank = 99, a.dims[0] = UINT64_MAX; }, 0},
      {"donated", [](auto& a) { a.direction = MLRING_INOUT; }, 0},
      {"needed is not read", [](auto& a) { a.needed = 5; }, 0},
      {"direction 0", [](auto& a) { a.direction = 0; }, MLRING_REFUSED_DIRECTION},
      {"direction 4", [](auto& a) { a.direction = 4; }, MLRING_REFUSED_DIRECTION},
      {"dtype 0", [](auto& a) { a.dtype = 0; }, MLRING_REFUSED_DTYPE},
      {"dtype 24", [](auto& a) { a.dtype = 24; }, MLRING_REFUSED_DTYPE},
      {"rank 9", [](auto& a) { a.rank = 9; }, MLRING_REFUSED_RANK},
      {"dim beyond rank", [](auto& a) { a.dims[7] = 1; }, MLRING_REFUSED_DIMS},
      {"overflow", [](auto& a) { a.dims[0] = uint64_t{1} << 62; }, MLRING_REFUSED_DIMS},
      {"overflow behind a 0", [](auto& a) { a.rank = 3, a.dims[1] = 0, a.dims[2] = UINT64_MAX; }, MLRING_REFUSED_DIMS},
      {"nowhere", [](auto& a) { a.arena = 0; }, MLRING_REFUSED_PLACE},
      {"in both",
       [](auto& a) {
         a.handle = {1, 1};
       },
       MLRING_REFUSED_PLACE},
      {"arena and index",
       [](auto& a) {
         a.handle = {1, 0};
       },
       MLRING_REFUSED_PLACE},
      {"between elements", [](auto& a) { a.offset = 2; }, MLRING_REFUSED_ALIGNMENT},
      {"too small", [](auto& a) { a.capacity = 47; }, MLRING_REFUSED_CAPACITY},
      {"donated too small", [](auto& a) { a.direction = MLRING_INOUT, a.capacity = 47; }, MLRING_REFUSED_CAPACITY},
      {"reserve", [](auto& a) { a.reserved[1] = 1; }, MLRING_REFUSED_RESERVED},
  };
  for (const ArgumentCase& c : cases) {
    mlring_argument a = argument();
    c.change(a);
    EXPECT_EQ(mlring_check_argument(&a), c.refusal) << c.name;
  }
}

TEST(RingArgument, AnswerWritesDimsAndNeeded) {
  mlring_argument a = argument();
  const uint64_t dims[] = {7, 8, 9};
  mlring_answer_argument(&a, 3, dims, 2016);
  EXPECT_EQ(a.rank, 3u);
  EXPECT_EQ(a.dims[0] * 100 + a.dims[1] * 10 + a.dims[2], 789u);
  for (int i = 3; i < 8; ++i) EXPECT_EQ(a.dims[i], 0u);
  EXPECT_EQ(a.needed, 2016u);
  EXPECT_EQ(a.capacity, 48u);
}

TEST(RingMessage, MustLieInTheErrorArea) {
  mlring_completion c{};
  EXPECT_TRUE(mlring_message_ok(&c));
  c.message_offset = MLRING_ERROR_BYTES - 10;
  c.message_length = 10;
  EXPECT_TRUE(mlring_message_ok(&c));
  c.message_length = 11;
  EXPECT_FALSE(mlring_message_ok(&c));
  c.message_offset = 0;
  c.message_length = MLRING_MESSAGE_MAX + 1;
  EXPECT_FALSE(mlring_message_ok(&c));
  c.message_offset = UINT32_MAX;
  c.message_length = 1;
  EXPECT_FALSE(mlring_message_ok(&c));
}

TEST(RingWake, SleeperIsWokenOnceWhenItsIndexIsPassed) {
  mlring_submission_header s{};
  EXPECT_FALSE(mlring_client_needs_wake(&s, 0xfffffffeu, 2));
  mlring_client_arm(&s, 1);
  EXPECT_FALSE(mlring_client_needs_wake(&s, 0xfffffff0u, 0));
  EXPECT_TRUE(mlring_client_needs_wake(&s, 0xfffffffeu, 1));
  EXPECT_TRUE(mlring_client_needs_wake(&s, 0xfffffffeu, 2));
  EXPECT_FALSE(mlring_client_needs_wake(&s, 1, 2));
  mlring_client_disarm(&s);
  EXPECT_FALSE(mlring_client_needs_wake(&s, 0xfffffffeu, 2));
}

TEST(RingWake, OwnerIsToldWhenTheSequenceItWaitsForCompletes) {
  mlring_state s{};
  s.notify_at = MLRING_NEVER;
  EXPECT_FALSE(mlring_owner_needs_notice(&s, 0, UINT64_MAX));
  s.notify_at = 10;
  EXPECT_FALSE(mlring_owner_needs_notice(&s, 5, 10));
  EXPECT_TRUE(mlring_owner_needs_notice(&s, 5, 11));
  EXPECT_TRUE(mlring_owner_needs_notice(&s, 10, 11));
  EXPECT_FALSE(mlring_owner_needs_notice(&s, 11, 12));
}

TEST(RingWake, DoorbellIsRungOncePerPark) {
  mlring_completion_header c{};
  uint32_t parked = 0, rung = 0;
  EXPECT_FALSE(mlring_doorbell_needed(&c, &rung));
  mlring_worker_turn(&c, &parked);
  EXPECT_TRUE(mlring_doorbell_needed(&c, &rung));
  EXPECT_FALSE(mlring_doorbell_needed(&c, &rung));
  mlring_worker_turn(&c, &parked);
  EXPECT_FALSE(mlring_doorbell_needed(&c, &rung));
  mlring_worker_turn(&c, &parked);
  EXPECT_TRUE(mlring_doorbell_needed(&c, &rung));
}

}  // namespace
