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
#include "engine/backends/cpu/tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr std::int64_t kLanes = HWY_LANES(float);
constexpr std::int64_t kFloat = sizeof(float);

constexpr std::int64_t kLines = 8;    // that are added to all rows before the next are read
constexpr std::int64_t kSums = 6144;  // of all rows, which stay in the first-level cache with them
// Where rows begin, modulo a page: a load waits for an earlier store that has the same address but for the page.
constexpr std::int64_t kPage = 4096 / kFloat, kShift = 9 * 64 / kFloat;

// How many lines are added to one or two rows at once: their factors stay in registers.
constexpr int lines_for(int rows) { return rows == 1 || HWY_TARGET <= HWY_AVX3 ? 8 : 2; }

// Vectors of a line whose sums for so many rows fit the registers, beside themselves and a factor.
constexpr int vectors_beside(int rows) { return ((HWY_TARGET <= HWY_AVX3 ? 32 : 16) - 2) / (rows + 1); }

// A whole vector of a line, at any alignment. An object, so that it can be handed on and still be inlined.
struct LoadWhole {
  HWY_INLINE V operator()(const std::byte* at) const { return hn::LoadU(D(), reinterpret_cast<const float*>(at)); }
};
// The last elements of a line: what lies behind them need not be memory.
HWY_INLINE V load_end(const std::byte* at, std::int64_t count) {
  alignas(64) float few[kLanes] = {};
  std::memcpy(few, at, static_cast<std::size_t>(std::clamp<std::int64_t>(count, 0, kLanes) * kFloat));
  return hn::Load(D(), few);
}

// Of each row, for some columns.
struct Sums {
  float* first;
  std::int64_t stride;
  float* operator[](std::int64_t row) const { return first + row * stride; }
};

// Adds lines from `first` on, `lines` of them, times the rows.
template <int rows, int lines>
HWY_INLINE void add(const FewRowsRun& run, std::int64_t first, std::int64_t column, std::int64_t columns,
                    const Sums& sums) {
  const D d;
  V factor[rows][lines];
  ML_UNROLL
  for (int r = 0; r < rows; ++r) {
    ML_UNROLL
    for (int i = 0; i < lines; ++i) factor[r][i] = hn::Set(d, run.rows[r][first + i]);
  }
  const std::byte* const from = run.lines + first * run.stride + column * kFloat;
  const auto add_at = [&](std::int64_t at, auto load_at) HWY_ATTR {
    V line[lines];
    ML_UNROLL
    for (int i = 0; i < lines; ++i) line[i] = load_at(from + i * run.stride + at * kFloat);
    ML_UNROLL
    for (int r = 0; r < rows; ++r) {
      float* const to = sums[r] + at;
      V sum = hn::Load(d, to);
      ML_UNROLL
      for (int i = 0; i < lines; ++i) sum = hn::MulAdd(factor[r][i], line[i], sum);
      hn::Store(sum, d, to);
    }
  };
  const std::int64_t whole = columns / kLanes * kLanes;
  for (std::int64_t at = 0; at < whole; at += kLanes) {
    // The lines behind these.
    ML_UNROLL
    for (int i = 0; i < lines; ++i) __builtin_prefetch(from + (i + kLines) * run.stride + at * kFloat, 0, 2);
    add_at(at, LoadWhole());
  }
  if (whole < columns)
    add_at(whole, [left = columns - whole](const std::byte* at) HWY_ATTR { return load_end(at, left); });
}

template <int rows>
HWY_NOINLINE void add_some(const FewRowsRun& run, Range lines, Range columns, const Sums& sums) {
  constexpr int kAtOnce = lines_for(rows);
  std::int64_t line = lines.begin;
  for (; line + kAtOnce <= lines.end; line += kAtOnce)
    add<rows, kAtOnce>(run, line, columns.begin, columns.size(), sums);
  for (; line < lines.end; ++line) add<rows, 1>(run, line, columns.begin, columns.size(), sums);
}

// The sums of more rows stay in registers while a strip of some lines is added, `vectors` wide.
template <int rows, int vectors, class Load>
HWY_INLINE void add_strip(const FewRowsRun& run, Range lines, std::int64_t column, float* const (&sums)[rows],
                          Load load_at) {
  const D d;
  V sum[rows][vectors];
  ML_UNROLL
  for (int r = 0; r < rows; ++r) {
    ML_UNROLL
    for (int v = 0; v < vectors; ++v) sum[r][v] = hn::Load(d, sums[r] + v * kLanes);
  }
  const std::byte* from = run.lines + lines.begin * run.stride + column * kFloat;
  for (std::int64_t line = lines.begin; line < lines.end; ++line, from += run.stride) {
    V factor[vectors];
    ML_UNROLL
    for (int v = 0; v < vectors; ++v) {
      factor[v] = load_at(from + v * kLanes * kFloat);
      __builtin_prefetch(from + lines.size() * run.stride + v * kLanes * kFloat, 0, 2);  // the strip below
    }
    ML_UNROLL
    for (int r = 0; r < rows; ++r) {
      const V x = hn::Set(d, run.rows[r][line]);
      ML_UNROLL
      for (int v = 0; v < vectors; ++v) sum[r][v] = hn::MulAdd(x, factor[v], sum[r][v]);
    }
  }
  ML_UNROLL
  for (int r = 0; r < rows; ++r) {
    ML_UNROLL
    for (int v = 0; v < vectors; ++v) hn::Store(sum[r][v], d, sums[r] + v * kLanes);
  }
}

template <int rows>
HWY_NOINLINE void add_strips(const FewRowsRun& run, Range lines, Range columns, const Sums& sums) {
  constexpr int kVectors = vectors_beside(rows);
  const auto sums_at = [&](std::int64_t at, auto add) HWY_ATTR {
    float* to[rows];
    for (int r = 0; r < rows; ++r) to[r] = sums[r] + at;
    add(to);
  };
  const std::int64_t size = columns.size();
  std::int64_t at = 0;
  for (; at + kVectors * kLanes <= size; at += kVectors * kLanes) {
    sums_at(at, [&](float* const(&to)[rows])
                    HWY_ATTR { add_strip<rows, kVectors>(run, lines, columns.begin + at, to, LoadWhole()); });
  }
  for (; at + kLanes <= size; at += kLanes) {
    sums_at(at, [&](float* const(&to)[rows])
                    HWY_ATTR { add_strip<rows, 1>(run, lines, columns.begin + at, to, LoadWhole()); });
  }
  if (at == size) return;
  sums_at(at, [&](float* const(&to)[rows]) HWY_ATTR {
    add_strip<rows, 1>(run, lines, columns.begin + at, to,
                       [left = size - at](const std::byte* end) HWY_ATTR { return load_end(end, left); });
  });
}

// Lines from `first` on, `lines` of them, times the rows.
template <int rows, int lines>
HWY_INLINE void dot(const FewRowsRun& run, std::int64_t first, std::int64_t column, const Sums& sums) {
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
      const V x = load_row(run.rows[r] + at);
      ML_UNROLL
      for (int i = 0; i < lines; ++i) sum[r][i] = hn::MulAdd(x, line[i], sum[r][i]);
    }
  };
  const std::int64_t whole = run.depth / kLanes * kLanes, left = run.depth - whole;
  for (std::int64_t at = 0; at < whole; at += kLanes) {
    ML_UNROLL
    for (int i = 0; i < lines; ++i) __builtin_prefetch(from + (i + lines) * run.stride + at * kFloat, 0, 2);
    add_at(at, LoadWhole(), [&](const float* x) HWY_ATTR { return hn::LoadU(d, x); });
  }
  if (left > 0) {
    add_at(
        whole, [left](const std::byte* at) HWY_ATTR { return load_end(at, left); },
        [left](const float* x) HWY_ATTR { return RowEnd::read(x, static_cast<std::size_t>(left)); });
  }
  ML_UNROLL
  for (int r = 0; r < rows; ++r) {
    ML_UNROLL
    for (int i = 0; i < lines; ++i) sums[r][column + i] = hn::GetLane(hn::SumOfLanes(d, sum[r][i]));
  }
}

template <int rows>
HWY_NOINLINE void dot_all(const FewRowsRun& run, Range lines, const Sums& sums) {
  constexpr int kAtOnce = std::min(4, vectors_beside(rows));
  std::int64_t line = lines.begin, column = 0;
  for (; line + kAtOnce <= lines.end; line += kAtOnce, column += kAtOnce) dot<rows, kAtOnce>(run, line, column, sums);
  for (; line < lines.end; ++line, ++column) dot<rows, 1>(run, line, column, sums);
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
  alignas(64) float memory[kSums + kFewRows * kPage];
  const std::int64_t most = kSums / run.count / kLanes * kLanes;
  const Sums sums{memory, most / kPage * kPage + kShift + (most % kPage <= kShift ? 0 : kPage)};
  const std::int64_t blocks = (run.columns + most - 1) / most;
  for (std::int64_t block = 0; block < blocks; ++block) {
    const Range columns = range_of(run.columns, blocks, block, kLanes);
    sum(columns, sums);
    finish(run, columns, sums);
  }
}

}  // namespace

void add_lines(const FewRowsRun& run) {
  for_blocks(run, [&](Range columns, const Sums& sums) HWY_ATTR {
    const std::int64_t vectors = (columns.size() + kLanes - 1) / kLanes;
    for (std::int64_t r = 0; r < run.count; ++r) std::fill_n(sums[r], vectors * kLanes, 0.0f);
    for (std::int64_t line = 0; line < run.depth; line += kLines) {
      const Range lines{line, std::min(line + kLines, run.depth)};
      with_count<kFewRows>(static_cast<int>(run.count), [&](auto rows) HWY_ATTR {
        if constexpr (rows() <= 2)
          add_some<rows()>(run, lines, columns, sums);
        else
          add_strips<rows()>(run, lines, columns, sums);
      });
    }
  });
}

void dot_lines(const FewRowsRun& run) {
  for_blocks(run, [&](Range columns, const Sums& sums) HWY_ATTR {
    with_count<kFewRows>(static_cast<int>(run.count), [&](auto rows) HWY_ATTR { dot_all<rows()>(run, columns, sums); });
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
