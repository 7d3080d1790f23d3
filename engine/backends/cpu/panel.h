// The kernel below every product and convolution of f32: a few rows, found by address, times one panel of packed
// columns.
//
// A panel is as many columns as the registers hold beside the sums: packed, row k of panel p holds the columns
// [p * width, (p + 1) * width) of row k, zeros where there are none. Rows are given tap by tap, so that a convolution
// is the same product with rows that lie elsewhere in the image for each tap of the window.
#pragma once

#include <cstdint>

namespace ml::cpu {

enum class Function : std::uint8_t { none, sigmoid, silu, hard_swish };

// What becomes of a sum before it is written: function(clamp(sum + bias + residual)), where the residual may come last.
struct Epilogue {
  const float* bias = nullptr;             // of the panel's columns, or null
  const float* const* residual = nullptr;  // [count] rows that are added, or null
  bool residual_last = false;
  bool clamps = false;
  float low = 0, high = 0;
  Function function = Function::none;
};

struct PanelRun {
  const float* const* rows;  // [taps][row_step], `depth` floats behind each of the first `count`
  std::int64_t count;        // at most PanelKernel::rows_for(columns)
  std::int64_t taps;
  std::int64_t depth;
  const float* panel;        // [taps][depth][width]
  float* const* out;         // [count], `columns` floats each
  std::int64_t columns;      // at most the width
  bool add;                  // to what is there, which was not finished
  const Epilogue* epilogue;  // null: the sums are not finished yet
  // What the caller will read soon: `ahead_lines` cache lines from here on are fetched while this runs, at most one for
  // each row of the panel.
  const float* ahead = nullptr;
  std::int64_t ahead_lines = 0;
  std::int64_t row_step = 0;  // 0: count
};

struct PanelKernel {
  std::int64_t rows;   // at once
  std::int64_t width;  // columns of a panel, a multiple of the vector
  // Rows at once where only so many columns are wanted: with fewer sums in each there may be more of them.
  std::int64_t (*rows_for)(std::int64_t columns);
  void (*run)(const PanelRun& run);

  std::int64_t panels(std::int64_t columns) const { return (columns + width - 1) / width; }
};
// The one of this machine's instruction set.
const PanelKernel& panel_kernel();

}  // namespace ml::cpu
