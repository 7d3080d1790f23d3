// How windows lie over the spatial dimensions of convolution and pooling, as attributes and extents tell it.
#pragma once

#include "engine/formats/onnx/padding.h"
#include "engine/graph/ops/windows.h"

namespace ml::onnx {

// auto_pad and ceil_mode are resolved into pads. Where those follow from extents that are not known, the input is to be
// padded by `pads` and `ceil_pads` first, and `windows` has none.
struct Window {
  Ints size;
  Windows windows;
  Ints ceil_pad;  // what ceil_mode adds behind each dimension
  std::vector<Padding> pads, ceil_pads;

  bool pads_first() const { return !pads.empty(); }
  std::int64_t positions() const;
};
// For windows of `size` over the spatial dimensions of input 0.
Window window_of(const NodeContext& n, const Ints& size);
// Strides, dilations and pads of the node, checked, with their defaults; auto_pad ignored.
Windows plain_windows(const NodeContext& n, const Ints& size);
// The attribute kernel_shape; convolutions may leave it to the weights.
Ints kernel_shape(const NodeContext& n);
Ints kernel_shape_or_weights(const NodeContext& n, Var weights);

}  // namespace ml::onnx
