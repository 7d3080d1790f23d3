#include "engine/backends/cpu/few_rows.h"

#include <algorithm>
#include <cstring>

#include "engine/backends/cpu/partition.h"
#include "engine/backends/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/few_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h: compiled once per target too.
#include "engine/backends/cpu/epilogue-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr std::int64_t kLanes = HWY_LANES(float);
constexpr std::int64_t kFloat = sizeof(float);

constexpr int kRowsAtOnce = 4;
constexpr std::int64_t kLines = 8;    // that are added to all rows before the next are read
constexpr std::int64_t kSums = 8192;  // that stay in the first-level cache, of all rows

// How many lines are added at once: their factors for all rows stay in registers.
constexpr int lines_for(int rows) {
  const bool many = HWY_TARGET <= HWY_AVX3;  // 32 registers, otherwise 16
  if (rows == 1) return 8;
  return (rows == 2) == many ? (many ? 8 : 2) : 4;
}

HWY_INLINE V load(const std::byte* at) { return hn::LoadU(D(), reinterpret_cast<const float*>(at)); }
// The last elements of a line: what lies behind them need not be memory.
HWY_INLINE V load_end(const std::byte* at, std::int64_t count) {
  alignas(64) float few[kLanes] = {};
  std::memcpy(few, at, static_cast<std::size_t>(count * kFloat));
  return hn::Load(D(), few);
}

// Of each row, for some columns.
struct Sums {
  float* first;
  std::int64_t stride;
  float* operator[](std::int64_t row) const { return first + row * stride; }
};

// Adds lines from `first` on, `lines` of them, times the rows from `row` on.
template <int rows, int lines>
HWY_INLINE void add(const FewRowsRun& run, std::int64_t row, std::int64_t first, std::int64_t column,
                    std::int64_t columns, const Sums& sums) {
  const D d;
  V factor[rows][lines];
  ML_UNROLL
  for (int r = 0; r < rows; ++r) {
    ML_UNROLL
    for (int i = 0; i < lines; ++i) factor[r][i] = hn::Set(d, run.rows[row + r][first + i]);
  }
  const std::byte* const from = run.lines + first * run.stride + column * kFloat;
  const auto add_at = [&](std::int64_t at, auto load_at) HWY_ATTR {
    V line[lines];
    ML_UNROLL
    for (int i = 0; i < lines; ++i) line[i] = load_at(from + i * run.stride + at * kFloat);
    ML_UNROLL
    for (int r = 0; r < rows; ++r) {
      float* const to = sums[row + r] + at;
      V sum = hn::Load(d, to);
      ML_UNROLL
      for (int i = 0; i < lines; ++i) sum = hn::MulAdd(factor[r][i], line[i], sum);
      hn::Store(sum, d, to);
    }
  };
  const std::int64_t whole = columns / kLanes * kLanes;
  for (std::int64_t at = 0; at < whole; at += kLanes) {
    if (row == 0) {
      // The lines behind these, for all rows.
      ML_UNROLL
      for (int i = 0; i < lines; ++i) __builtin_prefetch(from + (i + kLines) * run.stride + at * kFloat, 0, 2);
    }
    add_at(at, load);
  }
  if (whole < columns)
    add_at(whole, [left = columns - whole](const std::byte* at) HWY_ATTR { return load_end(at, left); });
}

template <int rows>
HWY_NOINLINE void add_some(const FewRowsRun& run, std::int64_t row, Range lines, Range columns, const Sums& sums) {
  constexpr int kAtOnce = lines_for(rows);
  std::int64_t line = lines.begin;
  for (; line + kAtOnce <= lines.end; line += kAtOnce)
    add<rows, kAtOnce>(run, row, line, columns.begin, columns.size(), sums);
  for (; line < lines.end; ++line) add<rows, 1>(run, row, line, columns.begin, columns.size(), sums);
}

// The same with the lines of [columns.begin, columns.end) as columns.
template <int rows, int lines>
HWY_INLINE void dot(const FewRowsRun& run, std::int64_t row, std::int64_t first, std::int64_t column,
                    const Sums& sums) {
  const D d;
  V sum[rows][lines];
  ML_UNROLL
  for (int r = 0; r < rows; ++r) {
    ML_UNROLL
    for (int i = 0; i < lines; ++i) sum[r][i] = hn::Zero(d);
  }
  const std::byte* const from = run.lines + first * run.stride;
  const auto add_at = [&](std::int64_t at, auto load_at, auto load_row) HWY_ATTR {
    V line[lines];
    ML_UNROLL
    for (int i = 0; i < lines; ++i) line[i] = load_at(from + i * run.stride + at * kFloat);
    ML_UNROLL
    for (int r = 0; r < rows; ++r) {
      const V x = load_row(run.rows[row + r] + at);
      ML_UNROLL
      for (int i = 0; i < lines; ++i) sum[r][i] = hn::MulAdd(x, line[i], sum[r][i]);
    }
  };
  const std::int64_t whole = run.depth / kLanes * kLanes, left = run.depth - whole;
  for (std::int64_t at = 0; at < whole; at += kLanes) {
    if (row == 0) {
      ML_UNROLL
      for (int i = 0; i < lines; ++i) __builtin_prefetch(from + (i + lines) * run.stride + at * kFloat, 0, 2);
    }
    add_at(at, load, [&](const float* x) HWY_ATTR { return hn::LoadU(d, x); });
  }
  if (left > 0) {
    add_at(
        whole, [left](const std::byte* at) HWY_ATTR { return load_end(at, left); },
        [left](const float* x) HWY_ATTR { return RowEnd::read(x, static_cast<std::size_t>(left)); });
  }
  ML_UNROLL
  for (int r = 0; r < rows; ++r) {
    ML_UNROLL
    for (int i = 0; i < lines; ++i) sums[row + r][column + i] = hn::GetLane(hn::SumOfLanes(d, sum[r][i]));
  }
}

template <int rows>
HWY_NOINLINE void dot_some(const FewRowsRun& run, std::int64_t row, Range lines, std::int64_t column,
                           const Sums& sums) {
  constexpr int kAtOnce = rows <= 2 || HWY_TARGET <= HWY_AVX3 ? 4 : 2;
  std::int64_t line = lines.begin;
  for (; line + kAtOnce <= lines.end; line += kAtOnce, column += kAtOnce)
    dot<rows, kAtOnce>(run, row, line, column, sums);
  for (; line < lines.end; ++line, ++column) dot<rows, 1>(run, row, line, column, sums);
}

// Calls f(std::integral_constant, row) for as many rows at once as can be.
template <class F>
HWY_INLINE void for_rows(std::int64_t count, F f) {
  for (std::int64_t row = 0; row < count; row += kRowsAtOnce) {
    switch (std::min<std::int64_t>(count - row, kRowsAtOnce)) {
      case 1: f(std::integral_constant<int, 1>{}, row); break;
      case 2: f(std::integral_constant<int, 2>{}, row); break;
      case 3: f(std::integral_constant<int, 3>{}, row); break;
      default: f(std::integral_constant<int, kRowsAtOnce>{}, row);
    }
  }
}

void finish(const FewRowsRun& run, Range columns, const Sums& sums) {
  const D d;
  const Epilogue& e = *run.epilogue;
  with_function(e.function, [&](auto function) HWY_ATTR {
    for (std::int64_t r = 0; r < run.count; ++r) {
      for (std::int64_t at = 0; at < columns.size(); at += kLanes) {
        const std::int64_t column = columns.begin + at;
        const auto n = static_cast<std::size_t>(columns.end - column);
        V value = hn::Load(d, sums[r] + at);
        if (e.bias != nullptr) value = hn::Add(value, RowEnd::read(e.bias + column, n));
        value = finished<function()>(e, value, e.residual == nullptr ? nullptr : e.residual[r] + column, n);
        RowEnd::write(value, run.out[r] + column, n);
      }
    }
  });
}

// Calls sum(columns, sums) for columns whose sums stay in the cache, and finishes them.
template <class F>
HWY_INLINE void for_blocks(const FewRowsRun& run, F sum) {
  alignas(64) float memory[kSums];
  const Sums sums{memory, kSums / run.count / kLanes * kLanes};
  const std::int64_t blocks = (run.columns + sums.stride - 1) / sums.stride;
  for (std::int64_t block = 0; block < blocks; ++block) {
    const Range columns = range_of(run.columns, blocks, block, kLanes);
    sum(columns, sums);
    finish(run, columns, sums);
  }
}

}  // namespace

void add_lines(const FewRowsRun& run) {
  for_blocks(run, [&](Range columns, const Sums& sums) HWY_ATTR {
    for (std::int64_t r = 0; r < run.count; ++r) std::fill_n(sums[r], sums.stride, 0.0f);
    for (std::int64_t line = 0; line < run.depth; line += kLines) {
      const Range lines{line, std::min(line + kLines, run.depth)};
      for_rows(run.count,
               [&](auto rows, std::int64_t row) HWY_ATTR { add_some<rows()>(run, row, lines, columns, sums); });
    }
  });
}

void dot_lines(const FewRowsRun& run) {
  for_blocks(run, [&](Range columns, const Sums& sums) HWY_ATTR {
    for (std::int64_t line = columns.begin; line < columns.end; line += kLines) {
      const Range lines{line, std::min(line + kLines, columns.end)};
      for_rows(run.count, [&](auto rows, std::int64_t row)
                              HWY_ATTR { dot_some<rows()>(run, row, lines, line - columns.begin, sums); });
    }
  });
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {
namespace {

HWY_EXPORT(add_lines);
HWY_EXPORT(dot_lines);

}  // namespace

const FewRowsKernel& few_rows_kernel() {
  static const FewRowsKernel kernel{HWY_DYNAMIC_DISPATCH(add_lines), HWY_DYNAMIC_DISPATCH(dot_lines)};
  return kernel;
}

}  // namespace ml::cpu
#endif  // HWY_ONCE
