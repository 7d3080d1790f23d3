// The ABI: every offset is spelled out in the header itself; here is what static_assert can't say.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "kernel/uapi/mlaccel_ring.h"
#include "ml/dtype.h"
#include "ml/error.h"

extern "C" uint64_t ring_c_fingerprint(uint32_t depth);

namespace {

TEST(RingLayout, PlacesEverythingForADepth) {
  mlring_layout l{};
  ASSERT_TRUE(mlring_compute_layout(&l, 64, 4096));
  EXPECT_EQ(l.depth, 64u);
  EXPECT_EQ(l.mask, 63u);
  EXPECT_EQ(l.descriptors, 384u);
  EXPECT_EQ(l.completions, 384u);
  EXPECT_EQ(l.errors, 384u + 64 * 64);
  EXPECT_EQ(l.submission_offset, 0u);
  EXPECT_EQ(l.submission_bytes, 8192u);
  EXPECT_EQ(l.completion_offset, 8192u);
  EXPECT_EQ(l.completion_bytes, 73728u);
  EXPECT_EQ(l.state_offset, 81920u);
  EXPECT_EQ(l.state_bytes, 4096u);
  EXPECT_EQ(l.bytes, 86016u);
}

TEST(RingLayout, KeepsRegionsApartAndPageAlignedForEveryDepth) {
  for (const uint32_t page : {4096u, 16384u, 65536u})
    for (uint32_t depth = MLRING_DEPTH_MIN; depth <= MLRING_DEPTH_MAX; depth *= 2) {
      mlring_layout l{};
      ASSERT_TRUE(mlring_compute_layout(&l, depth, page));
      EXPECT_EQ(l.submission_offset % page + l.completion_offset % page + l.state_offset % page + l.bytes % page, 0u);
      EXPECT_GE(l.completion_offset, l.descriptors + depth * sizeof(mlring_descriptor));
      EXPECT_GE(l.errors, l.completions + depth * sizeof(mlring_completion));
      EXPECT_GE(l.state_offset - l.completion_offset, l.errors + MLRING_ERROR_BYTES);
      EXPECT_GE(l.bytes - l.state_offset, sizeof(mlring_state));
      EXPECT_EQ(l.descriptors % 64 + l.completions % 64 + l.errors % 64, 0u);
    }
}

TEST(RingLayout, RefusesDepthsAndPagesThatCannotBe) {
  mlring_layout l{};
  for (const uint32_t depth : {0u, 1u, 3u, 48u, MLRING_DEPTH_MAX * 2, 0x80000000u, 0xffffffffu})
    EXPECT_FALSE(mlring_compute_layout(&l, depth, 4096)) << depth;
  for (const uint32_t page : {0u, 64u, 2048u, 4095u, 5000u, 12288u})
    EXPECT_FALSE(mlring_compute_layout(&l, 64, page)) << page;
}

TEST(RingLayout, IsTheSameInC) {
  for (uint32_t depth = MLRING_DEPTH_MIN; depth <= MLRING_DEPTH_MAX; depth *= 2) {
    mlring_layout l{};
    ASSERT_TRUE(mlring_compute_layout(&l, depth, 4096));
    EXPECT_EQ(ring_c_fingerprint(depth), l.bytes * 1000003 + l.errors * 1009 + l.completion_offset * 17 + 60);
  }
}

TEST(RingLayout, WhatDifferentSidesOrTurnsWriteIs128BytesApart) {
  EXPECT_EQ(offsetof(mlring_submission_header, completion_head) - offsetof(mlring_submission_header, tail), 128u);
  EXPECT_EQ(offsetof(mlring_submission_header, needs_wake) - offsetof(mlring_submission_header, completion_head), 128u);
  EXPECT_EQ(offsetof(mlring_completion_header, parked) - offsetof(mlring_completion_header, completion_tail), 128u);
  EXPECT_EQ(offsetof(mlring_completion_header, submission_head) - offsetof(mlring_completion_header, parked), 128u);
  EXPECT_EQ(offsetof(mlring_state, notify_at) - offsetof(mlring_state, state), 128u);
}

TEST(RingLayout, StatusesAreTheErrorCodesNegated) {
  for (int code = 1; code <= 15; ++code)
    EXPECT_STREQ(mlring_status_name(-code), ml::code_name(static_cast<ml::Code>(code)));
  EXPECT_STREQ(mlring_status_name(MLRING_OK), "ok");
  EXPECT_STREQ(mlring_status_name(1), "unknown status");
}

TEST(RingLayout, DtypesAreTheEngines) {
  for (uint32_t dtype = 0; dtype < 64; ++dtype) {
    EXPECT_EQ(mlring_dtype_bits(dtype) != 0, ml::is_dtype(dtype)) << dtype;
    if (!ml::is_dtype(dtype)) continue;
    EXPECT_EQ(mlring_dtype_bits(dtype), 8 * ml::dtype_size(static_cast<ml::DType>(dtype))) << dtype;
  }
}

TEST(RingLayout, EveryRefusalAndFaultHasItsOwnPhrase) {
  std::set<std::string> phrases;
  for (uint32_t i = 0; i < MLRING_REFUSED_COUNT_OF; ++i) phrases.insert(mlring_refusal_text(i));
  for (uint32_t i = 0; i < MLRING_FAULT_COUNT; ++i) phrases.insert(mlring_fault_text(i));
  for (uint32_t i = 0; i < MLRING_OP_COUNT; ++i) phrases.insert(mlring_opcode_name(i));
  EXPECT_EQ(phrases.size(), MLRING_REFUSED_COUNT_OF + MLRING_FAULT_COUNT + MLRING_OP_COUNT);
}

}  // namespace
