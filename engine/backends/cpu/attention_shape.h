// An attention request as extents, strides in elements, and which optional operands it has.
#pragma once

#include <array>
#include <cstdint>

#include "engine/backends/backend.h"

namespace ml::cpu {

struct AttentionShape {
  std::int64_t batch = 0, groups = 0, repeats = 0;  // heads of queries are repeats heads a group
  std::int64_t queries = 0, keys = 0;
  std::int64_t depth = 0, width = 0;  // elements of a key, and of a value
  double scale = 1, softcap = 0;
  bool causal = false;

  // Of batch, head and position; the last dimension is dense.
  using Strides = std::array<std::int64_t, 3>;
  Strides q{}, k{}, v{}, y{}, log_sum_exp{};
  // Of batch, head, query and key, 0 where the bias repeats.
  std::array<std::int64_t, 4> bias{};
  std::size_t bias_input = 0, lengths_input = 0;  // 0: there is none
  bool bias_hides = false;                        // a bool mask rather than something that is added
  bool wide_lengths = false;                      // i64 rather than i32

  explicit AttentionShape(const KernelRequest& request);

  // The rows that read the same keys: row r is query r % queries of head r / queries of its group.
  std::int64_t rows() const { return repeats * queries; }
  double flops() const;
};

// What the kernels take: f32 with dense last dimensions.
const char* refuse_attention(const KernelRequest& request);

}  // namespace ml::cpu
