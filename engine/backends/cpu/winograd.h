// Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308): 16 results of a 3x3 convolution from 36
// products instead of 144, between transforms of the image and of the results.
//
// Sums of f32 lose about three bits more than a direct convolution does.
#pragma once

#include <cstdint>

#include "engine/backends/cpu/panel.h"

namespace ml::cpu {

inline constexpr std::int64_t kWinogradResults = 4;  // across and down
inline constexpr std::int64_t kWinogradPlaces = 6;
inline constexpr std::int64_t kWinogradProducts = 36;

struct WinogradKernel {
  // One tile of the image: [y][x] points to `channels` floats or is null in the padding; product p of the transform
  // goes to `to` + p * stride.
  void (*image)(const float* const* places, std::int64_t channels, float* to, std::int64_t stride);
  // One tile of results from its products, `from` + p * stride. `out` [y][x] is null where there is no result;
  // `residual` of the epilogue is [y][x], too.
  void (*results)(const float* from, std::int64_t stride, std::int64_t channels, float* const* out,
                  const Epilogue& epilogue);
  // The transforms of `columns` 3x3 windows of weights, rounded once: weight i of window c is windows[i * columns + c],
  // product p of it goes to to[p * stride + c].
  void (*weights)(const float* windows, std::int64_t columns, float* to, std::int64_t stride);
};
const WinogradKernel& winograd_kernel();

}  // namespace ml::cpu
