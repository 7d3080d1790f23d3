// What one piece of work of the attention kernels is: kernel_attention.cpp has the blocks of rows and cuts requests
// into pieces, kernel_attention_few.cpp has what goes through runs of keys.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "engine/backends/cpu/attention_shape.h"

namespace ml::cpu {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Operands of one launch.
struct AttentionOperands {
  const float *q, *k, *v;
  const void *bias, *lengths;
  float *y, *log_sum_exp;  // null where nobody reads it

  const float* keys_of(const AttentionShape& s, std::int64_t b, std::int64_t g) const {
    return k + b * s.k[0] + g * s.k[1];
  }
  const float* values_of(const AttentionShape& s, std::int64_t b, std::int64_t g) const {
    return v + b * s.v[0] + g * s.v[1];
  }
  // How many keys, from the first, a query sees.
  std::int64_t visible(const AttentionShape& s, std::int64_t b, std::int64_t query) const {
    std::int64_t count = s.keys;
    if (s.lengths_input != 0) {
      count =
          s.wide_lengths ? static_cast<const std::int64_t*>(lengths)[b] : static_cast<const std::int32_t*>(lengths)[b];
      count = std::max<std::int64_t>(count, 0);
    }
    if (s.causal) count -= s.queries - 1 - query;
    return std::clamp<std::int64_t>(count, 0, s.keys);
  }
  // Element `at` of the bias as what is added; of a mask 1 where a key is seen, otherwise 0.
  float bias_value(const AttentionShape& s, std::int64_t at) const {
    if (!s.bias_hides) return static_cast<const float*>(bias)[at];
    return static_cast<const std::uint8_t*>(bias)[at] != 0 ? 1.0f : 0.0f;
  }
};

inline constexpr std::int64_t kRows = 64;   // of a block
inline constexpr std::int64_t kKeys = 128;  // of a block
inline constexpr std::int64_t kPad = 16;    // floats: a multiple of every target's vectors
constexpr std::int64_t padded(std::int64_t n) { return (n + kPad - 1) / kPad * kPad; }

// Rows [first, first + count) of one group of one example, at most kRows.
struct RowBlock {
  std::int64_t batch, group, first, count;
};
// Floats that a block of rows works in.
inline std::int64_t row_scratch(const AttentionShape& s) {
  return kRows * (s.depth + kKeys * (s.bias_input != 0 ? 2 : 1) + padded(s.width) + 4);
}

// Keys [first, first + count) for the few rows of one group of one example.
inline constexpr std::int64_t kFewRows = 4;
struct KeyRun {
  std::int64_t batch, group, first, count;
};
// Floats that a run works in, and that it leaves: per row the sum of weighted values, the largest score, the sum of
// weights.
inline std::int64_t few_scratch(const AttentionShape& s) { return kFewRows * (padded(s.depth) + 2 * kKeys); }
inline std::int64_t few_partial(const AttentionShape& s) { return s.rows() * (padded(s.width) + kPad); }
using AttendFew = void (*)(const AttentionShape& shape, const AttentionOperands& operands, const KeyRun& run,
                           float* scratch, float* partial);
AttendFew attend_few_function();
// Puts the `runs` partial results of a group together.
void join_runs(const AttentionShape& shape, const AttentionOperands& operands, std::int64_t batch, std::int64_t group,
               std::int64_t runs, const float* partials);

}  // namespace ml::cpu
