// Few rows times a large matrix that is read once, where and as it lies: reading it is all there is to do, so copying
// it first would cost more than the product.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/backends/cpu/panel.h"

namespace ml::cpu {

inline constexpr std::int64_t kFewRows = 8;

struct FewRowsRun {
  const float* const* rows;  // [count], `depth` floats each
  std::int64_t count;        // at most kFewRows
  std::int64_t depth;
  const std::byte* lines;  // of the matrix, f32 at any alignment
  std::int64_t stride;     // bytes from a line to the next
  std::int64_t columns;
  float* const* out;  // [count], `columns` floats each
  const Epilogue* epilogue;
};

struct FewRowsKernel {
  // `depth` lines of `columns` elements: line k is added as often as element k of a row says. Each sum runs in order.
  void (*add_lines)(const FewRowsRun& run);
  // `columns` lines of `depth` elements, each of which is multiplied with the rows.
  void (*dot_lines)(const FewRowsRun& run);
};
const FewRowsKernel& few_rows_kernel();

}  // namespace ml::cpu
