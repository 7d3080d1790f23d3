#include "engine/backends/cpu/panel.h"

#include <algorithm>
#include <cstddef>

#include "engine/backends/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/panel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "engine/backends/cpu/epilogue-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {

void run_panel(const PanelRun& run);

namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// With 32 vector registers 7 x 4 sums, 3 of the 4 vectors of a row of the panel and one factor fit, with 16 of them
// 6 x 2, both vectors and a factor.
constexpr int kVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
constexpr int kRows = kVectors == 4 ? 7 : 6;
constexpr int kMostRows = 12;
constexpr int kRegisters = kVectors == 4 ? 32 : 16;
constexpr std::size_t kLanes = HWY_LANES(float);
constexpr std::int64_t kWidth = kVectors * static_cast<std::int64_t>(kLanes);

// Where a panel has few vectors there are more rows than addresses fit registers; several turns share loading them.
template <int R, int W>
HWY_INLINE void multiply_narrow(const PanelRun& run, V (&sum)[R][W]) {
  const D d;
  constexpr int kTurns = W == 1 && kVectors == 4 ? 4 : 2;
  const std::int64_t step = run.row_step == 0 ? R : run.row_step;
  const float* panel = run.panel;
  for (std::int64_t tap = 0; tap < run.taps; ++tap) {
    const float* const* const row = run.rows + tap * step;
    std::int64_t k = 0;
    for (; k + kTurns <= run.depth; k += kTurns, panel += kTurns * kWidth) {
      V factor[kTurns][W];
#pragma GCC unroll 4
      for (int t = 0; t < kTurns; ++t) {
#pragma GCC unroll 4
        for (int v = 0; v < W; ++v)
          factor[t][v] = hn::Load(d, panel + t * kWidth + v * static_cast<std::int64_t>(kLanes));
      }
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        const float* const at = row[r] + k;
#pragma GCC unroll 4
        for (int t = 0; t < kTurns; ++t) {
          const V x = hn::Set(d, at[t]);
#pragma GCC unroll 4
          for (int v = 0; v < W; ++v) sum[r][v] = hn::MulAdd(x, factor[t][v], sum[r][v]);
        }
      }
    }
    for (; k < run.depth; ++k, panel += kWidth) {
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        const V x = hn::Set(d, row[r][k]);
#pragma GCC unroll 4
        for (int v = 0; v < W; ++v)
          sum[r][v] = hn::MulAdd(x, hn::Load(d, panel + v * static_cast<std::int64_t>(kLanes)), sum[r][v]);
      }
    }
  }
}

template <int R, int W>
HWY_INLINE void multiply(const PanelRun& run, V (&sum)[R][W]) {
  const D d;
  constexpr std::int64_t kLine = 64 / sizeof(float);
  constexpr int kKept = R * W + W + 1 > kRegisters ? W - 1 : W;  // vectors of the panel; the last is read for each row
  const std::int64_t step = run.row_step == 0 ? R : run.row_step;
  const float* panel = run.panel;
  const float* ahead = run.ahead;
  const float* const ahead_end = ahead + run.ahead_lines * kLine;
  // Few lines are spread out: many at once would hold up what is read from the second level meanwhile.
  const std::int64_t every = run.ahead_lines * 4 <= run.taps * run.depth ? 3 : 0;
  for (std::int64_t tap = 0; tap < run.taps; ++tap) {
    const float* row[R];
    for (int r = 0; r < R; ++r) row[r] = run.rows[tap * step + r];
    for (std::int64_t k = 0; k < run.depth; ++k) {
      V factor[kKept];
#pragma GCC unroll 4
      for (int v = 0; v < kKept; ++v) factor[v] = hn::Load(d, panel + static_cast<std::size_t>(v) * kLanes);
      const float* last = panel + (W - 1) * kLanes;
      panel += kWidth;
      if ((k & every) == 0 && ahead < ahead_end) {
        __builtin_prefetch(ahead, 0, 2);  // into the second level
        ahead += kLine;
      }
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const V x = hn::Set(d, row[r][k]);
#pragma GCC unroll 4
        for (int v = 0; v < kKept; ++v) sum[r][v] = hn::MulAdd(x, factor[v], sum[r][v]);
        if constexpr (kKept < W) {
          asm("" : "+r"(last));  // hides that it is what the last row read, and so from keeping it in a register
          sum[r][W - 1] = hn::MulAdd(x, hn::Load(d, last), sum[r][W - 1]);
        }
      }
    }
  }
}

// One vector of a row: what is added, where it goes. `n` elements of it are columns.
template <Function function>
HWY_INLINE void finish(const PanelRun& run, int r, std::size_t at, std::size_t n, V value) {
  float* const out = run.out[r] + at;
  if (run.add) value = hn::Add(value, RowEnd::read(out, n));
  if (const Epilogue* const e = run.epilogue) {
    if (run.add && e->bias != nullptr) value = hn::Add(value, RowEnd::read(e->bias + at, n));
    value = finished<function>(*e, value, e->residual == nullptr ? nullptr : e->residual[r] + at, n);
  }
  RowEnd::write(value, out, n);
}

// The same for all sums of a tile, [rows][vectors]: a function's instructions are too many to be written out for each.
void finish_tile(const PanelRun& run, const float* sums, int rows, int vectors) {
  const D d;
  const Epilogue e = *run.epilogue;
  const bool alone =
      !run.add && e.residual == nullptr && !e.clamps && run.columns >= vectors * static_cast<int>(kLanes);
  with_function(e.function, [&](auto function) {
    for (int r = 0; r < rows; ++r) {
      float* const out = run.out[r];
      for (int v = 0; v < vectors; ++v, sums += kLanes) {
        const std::size_t at = static_cast<std::size_t>(v) * kLanes;
        const V sum = hn::Load(d, sums);
        if (alone)
          hn::StoreU(applied<function()>(sum), d, out + at);
        else
          finish<function()>(run, r, at, static_cast<std::size_t>(run.columns) - at, sum);
      }
    }
  });
}

// What sums begin with: their bias, unless there are others to be added to and it comes with them.
template <int R, int W>
HWY_INLINE void begin(const PanelRun& run, V (&sum)[R][W]) {
  const D d;
  const float* const bias = run.epilogue == nullptr || run.add ? nullptr : run.epilogue->bias;
#pragma GCC unroll 4
  for (int v = 0; v < W; ++v) {
    const std::size_t at = static_cast<std::size_t>(v) * kLanes;
    const V first = bias == nullptr ? hn::Zero(d) : RowEnd::read(bias + at, static_cast<std::size_t>(run.columns) - at);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) sum[r][v] = first;
  }
}

// Whole vectors that nothing is added to.
template <int R, int W, bool clamps>
HWY_INLINE void write_whole(const PanelRun& run, const V (&sum)[R][W]) {
  const D d;
  const Epilogue end = clamps ? *run.epilogue : Epilogue{};  // read once, whatever is written
  float* const* const out = run.out;
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < W; ++v) {
      float* const to = out[r] + static_cast<std::size_t>(v) * kLanes;
      if constexpr (clamps)
        hn::StoreU(clamped(end, sum[r][v]), d, to);
      else
        hn::StoreU(sum[r][v], d, to);
    }
  }
}

// W: vectors of the panel that hold columns.
template <int R, int W>
HWY_NOINLINE void run_tile(const PanelRun& run) {
  const D d;
  V sum[R][W];
  begin<R, W>(run, sum);
  if constexpr (R > kRows)
    multiply_narrow<R, W>(run, sum);
  else
    multiply<R, W>(run, sum);
  const Epilogue* const e = run.epilogue;
  const bool calls = e != nullptr && e->function != Function::none;
  if (!run.add && !calls && (e == nullptr || e->residual == nullptr) &&
      run.columns >= W * static_cast<std::int64_t>(kLanes)) {
    if (e != nullptr && e->clamps) return write_whole<R, W, true>(run, sum);
    return write_whole<R, W, false>(run, sum);
  }
  alignas(64) float sums[R * W * kLanes];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < W; ++v) {
      const std::size_t at = static_cast<std::size_t>(v) * kLanes;
      if (calls)
        hn::Store(sum[r][v], d, sums + static_cast<std::size_t>(r * W) * kLanes + at);
      else
        finish<Function::none>(run, r, at, static_cast<std::size_t>(run.columns) - at, sum[r][v]);
    }
  }
  if (calls) finish_tile(run, sums, R, W);
}

std::int64_t vectors_of(std::int64_t columns) {
  return (columns + static_cast<std::int64_t>(kLanes) - 1) / static_cast<std::int64_t>(kLanes);
}

template <int R>
void run_rows(const PanelRun& run) {
  const std::int64_t vectors = vectors_of(run.columns);
  if constexpr (kVectors == 4) {
    if (vectors == 3) return run_tile<R, 3>(run);
    if (vectors == 2) return run_tile<R, 2>(run);
  }
  if (vectors == 1) return run_tile<R, 1>(run);
  run_tile<R, kVectors>(run);
}

// More rows than of a whole panel: all at once where few vectors hold columns, otherwise cut into equal parts.
void run_many(const PanelRun& run) {
  const std::int64_t vectors = vectors_of(run.columns);
  if constexpr (kVectors == 4) {
    if (run.count == kMostRows && vectors == 2) return run_tile<kMostRows, 2>(run);
  }
  if (run.count == kMostRows && vectors == 1) return run_tile<kMostRows, 1>(run);
  PanelRun some = run;
  some.row_step = run.row_step == 0 ? run.count : run.row_step;
  const float* const* const residual = run.epilogue == nullptr ? nullptr : run.epilogue->residual;
  Epilogue end = run.epilogue == nullptr ? Epilogue{} : *run.epilogue;
  if (run.epilogue != nullptr) some.epilogue = &end;
  const std::int64_t parts = (run.count + kRows - 1) / kRows, rows = (run.count + parts - 1) / parts;
  for (std::int64_t from = 0; from < run.count; from += rows) {
    some.rows = run.rows + from;
    some.out = run.out + from;
    some.count = std::min(rows, run.count - from);
    if (residual != nullptr) end.residual = residual + from;
    run_panel(some);
  }
}

}  // namespace

void run_panel(const PanelRun& run) {
  switch (run.count) {
    case 1: return run_rows<1>(run);
    case 2: return run_rows<2>(run);
    case 3: return run_rows<3>(run);
    case 4: return run_rows<4>(run);
    case 5: return run_rows<5>(run);
    case 6: return run_rows<6>(run);
    case 7:
      if constexpr (kRows == 7) return run_rows<7>(run);
      [[fallthrough]];
    default: return run_many(run);
  }
}

std::int64_t panel_width() { return kWidth; }
std::int64_t panel_rows_for(std::int64_t columns) { return 2 * vectors_of(columns) <= kVectors ? kMostRows : kRows; }
std::int64_t panel_rows() { return kRows; }

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {
namespace {

HWY_EXPORT(run_panel);
HWY_EXPORT(panel_width);
HWY_EXPORT(panel_rows);
HWY_EXPORT(panel_rows_for);

}  // namespace

const PanelKernel& panel_kernel() {
  static const PanelKernel kernel{HWY_DYNAMIC_DISPATCH(panel_rows)(), HWY_DYNAMIC_DISPATCH(panel_width)(),
                                  HWY_DYNAMIC_DISPATCH(panel_rows_for), HWY_DYNAMIC_DISPATCH(run_panel)};
  return kernel;
}

}  // namespace ml::cpu
#endif  // HWY_ONCE
