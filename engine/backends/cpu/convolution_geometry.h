// A convolution request, forward or either gradient, in the terms of the forward convolution x * w -> y.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/backends/backend.h"
#include "engine/graph/ops/windows.h"

namespace ml::cpu {

enum class Direction : std::uint8_t { forward, input_gradient, weight_gradient };

struct ConvolutionRequest {
  Direction direction;
  const Operand* x;
  const Operand* w;
  const Operand* y;
  const Operand* bias = nullptr;  // forward only
  Windows windows;
  std::int64_t groups;

  explicit ConvolutionRequest(const KernelRequest& request);
  int spatial() const { return x->type.shape.rank() - 2; }
  bool empty() const;
  double flops() const;
};

// One spatial dimension of a window op.
struct Line {
  std::int64_t extent = 1, window = 1, count = 1;  // of x, w and y
  std::int64_t stride = 1, pad = 0, dilation = 1;

  // Where position `k` of window `i` lies in x; outside of [0, extent) in the padding.
  std::int64_t place(std::int64_t i, std::int64_t k) const { return i * stride - pad + k * dilation; }
  // Whether the whole window that begins at place `from` lies inside.
  bool holds(std::int64_t from) const { return from >= 0 && from + (window - 1) * dilation < extent; }
  // The window's positions that lie inside of x: k in [first, last).
  std::int64_t first(std::int64_t i) const {
    const std::int64_t start = place(i, 0);
    return start >= 0 ? 0 : std::min((-start + dilation - 1) / dilation, window);
  }
  std::int64_t last(std::int64_t i) const {
    const std::int64_t room = extent - place(i, 0);
    if (room > (window - 1) * dilation) return window;
    return room <= 0 ? 0 : (room + dilation - 1) / dilation;
  }
};

// Three of them, the missing ones of extent 1 in front.
struct Lines {
  Line line[3];
};
Lines lines_of(const Shape& x, const Shape& window, int window_from, const Shape& y, const Windows& windows);

}  // namespace ml::cpu
