// Lines of a convolution in which every channel has a window of its own, for the windows that networks have: 3x3 and
// 5x5 without gaps, at stride 1 or 2. Weights stay in registers, and what windows beside each other share is read once.
#pragma once

#include <cstdint>

#include "engine/backends/cpu/panel.h"

namespace ml::cpu {

inline constexpr std::int64_t kMostDepthwiseWindow = 5;

struct DepthwiseBlock {
  const float* const* rows;  // [lines][window]: the lines of the image under each line of results, or zeros
  std::int64_t lines;
  std::int64_t extent, count, pad;  // across: places of the image, results, places before its first one
  std::int64_t channels;            // innermost everywhere
  std::int64_t image_step, step;    // from a place of the image, of results and weights to the next, in floats
  const float* weights;             // [window][window][step]
  float* y;                         // [lines][count][step]
  const Epilogue* epilogue;         // without residual
};
using DepthwiseLines = void (*)(const DepthwiseBlock&);
// Null where there is none.
DepthwiseLines depthwise_lines(std::int64_t window, std::int64_t stride);

}  // namespace ml::cpu
