// Convolution, pooling, normalization and dropout.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/formats/onnx/node.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

std::int64_t spatial_extent(Node n, std::size_t d) {
  const std::int64_t extent = n.in(0).shape()[static_cast<int>(d) + 2];
  if (extent == kUnknown) n.unsupported("padding or ceil_mode that depends on a spatial size that is not known");
  return extent;
}

// Strides, pads and dilations with their defaults; auto_pad and ceil_mode resolved into pads.
struct Window {
  Windows windows;
  Ints ceil_pad;  // what ceil_mode adds behind each dimension
};
Window window_of(Node n, const Ints& size) {
  const std::size_t rank = size.size();
  if (static_cast<int>(rank) + 2 != n.in(0).rank()) {
    n.invalid("a window of " + std::to_string(rank) + " dimensions over " + n.in(0).shape().str());
  }
  const Ints ones(rank, 1);
  Ints pads = n.ints("pads", Ints(2 * rank, 0));
  Window result{{n.ints("strides", ones), {}, {}, n.ints("dilations", ones)}, Ints(rank, 0)};
  Windows& w = result.windows;
  if (pads.size() != 2 * rank || w.strides.size() != rank || w.dilations.size() != rank) {
    n.invalid("strides, pads and dilations must have one entry (two for pads) per spatial dimension");
  }
  for (const std::int64_t stride : w.strides) {
    if (stride <= 0) n.invalid("a stride of " + std::to_string(stride));
  }
  const std::string automatic = n.text("auto_pad", "NOTSET");
  w.pad_low.assign(pads.begin(), pads.begin() + static_cast<std::ptrdiff_t>(rank));
  w.pad_high.assign(pads.begin() + static_cast<std::ptrdiff_t>(rank), pads.end());
  for (std::size_t d = 0; d < rank; ++d) {
    const std::int64_t covered = (size[d] - 1) * w.dilations[d] + 1;
    if (automatic == "VALID") w.pad_low[d] = w.pad_high[d] = 0;
    if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
      const std::int64_t extent = spatial_extent(n, d);
      const std::int64_t count = (extent + w.strides[d] - 1) / w.strides[d];
      const std::int64_t total = std::max<std::int64_t>((count - 1) * w.strides[d] + covered - extent, 0);
      w.pad_low[d] = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
      w.pad_high[d] = total - w.pad_low[d];
    }
    if (n.integer("ceil_mode", 0) != 0) {
      const std::int64_t extent = spatial_extent(n, d);
      const std::int64_t room = extent + w.pad_low[d] + w.pad_high[d] - covered;
      std::int64_t count = (room + w.strides[d] - 1) / w.strides[d] + 1;
      if ((count - 1) * w.strides[d] >= extent + w.pad_low[d]) --count;  // a window has to start before the end
      result.ceil_pad[d] = std::max<std::int64_t>((count - 1) * w.strides[d] - room, 0);
    }
  }
  return result;
}

// The window's size: the attribute, or the weight's.
Ints kernel_of(Node n) {
  const Shape& weight = n.in(1).shape();
  Ints size = n.ints("kernel_shape");
  if (size.empty()) size.assign(weight.begin() + std::min(2, weight.rank()), weight.end());
  if (std::ranges::find(size, kUnknown) != size.end()) n.unsupported("a window of unknown size");
  return size;
}

Results conv(Node n) {
  const Window w = window_of(n, kernel_of(n));
  return {convolution(n.in(0), n.in(1), n.has(2) ? n.in(2) : Var{}, w.windows, n.integer("group", 1))};
}

// The gradient of a convolution with respect to its input: weights are [C, M / group, window...].
Results conv_transpose(Node n) {
  const Var x = n.in(0);
  const Ints size = kernel_of(n);
  const std::size_t rank = size.size();
  const Ints extra = n.ints("output_padding", Ints(rank, 0)), wanted = n.ints("output_shape");
  const std::string automatic = n.text("auto_pad", "NOTSET");
  Windows w{n.ints("strides", Ints(rank, 1)), Ints(rank, 0), Ints(rank, 0), n.ints("dilations", Ints(rank, 1))};
  const Ints pads = n.ints("pads", Ints(2 * rank, 0));
  if (pads.size() != 2 * rank || extra.size() != rank || (!wanted.empty() && wanted.size() != rank) ||
      w.strides.size() != rank || w.dilations.size() != rank) {
    n.invalid("its attributes must have one entry (two for pads) per spatial dimension");
  }
  Ints extents;
  for (std::size_t d = 0; d < rank; ++d) {
    const std::int64_t full = w.strides[d] * (spatial_extent(n, d) - 1) + extra[d] + (size[d] - 1) * w.dilations[d] + 1;
    std::int64_t total = pads[d] + pads[d + rank];
    w.pad_low[d] = pads[d];
    const bool same = automatic == "SAME_UPPER" || automatic == "SAME_LOWER";
    if (!wanted.empty() || same) {
      total = full - (wanted.empty() ? spatial_extent(n, d) * w.strides[d] : wanted[d]);
      if (total < 0) n.unsupported("an output_shape larger than the window reaches");
      w.pad_low[d] = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
    }
    w.pad_high[d] = total - w.pad_low[d];
    extents.push_back(full - total);
  }
  Var y = convolution_input_gradient(x, n.in(1), w, n.integer("group", 1), extents);
  if (n.has(2)) {
    Shape per_channel{n.in(2).shape().at(0)};
    for (std::size_t d = 0; d < rank; ++d) per_channel.append(1);
    y = y + reshape(n.in(2), per_channel);
  }
  return {y};
}

Results max_pool_operator(Node n) {
  const Ints size = n.ints("kernel_shape");
  Window w = window_of(n, size);
  for (std::size_t d = 0; d < size.size(); ++d) w.windows.pad_high[d] += w.ceil_pad[d];
  return {max_pool(n.in(0), size, w.windows)};
}

// What ceil_mode adds is never counted, padding is when count_include_pad says so: then it is made part of the input.
Results average_pool_operator(Node n) {
  const Ints size = n.ints("kernel_shape");
  Window w = window_of(n, size);
  Var x = n.in(0);
  bool count_padding = n.integer("count_include_pad", 0) != 0;
  if (count_padding && std::ranges::any_of(w.ceil_pad, [](std::int64_t p) { return p > 0; })) {
    Ints low{0, 0}, high{0, 0};
    low.insert(low.end(), w.windows.pad_low.begin(), w.windows.pad_low.end());
    high.insert(high.end(), w.windows.pad_high.begin(), w.windows.pad_high.end());
    x = pad(x, low, high);
    w.windows.pad_low.assign(size.size(), 0);
    w.windows.pad_high.assign(size.size(), 0);
    count_padding = false;
  }
  for (std::size_t d = 0; d < size.size(); ++d) w.windows.pad_high[d] += w.ceil_pad[d];
  return {average_pool(x, size, w.windows, count_padding)};
}

Ints spatial_axes(Var x) {
  Ints axes(static_cast<std::size_t>(std::max(x.rank() - 2, 0)));
  std::iota(axes.begin(), axes.end(), 2);
  return axes;
}
Results global_average_pool(Node n) { return {reduce_mean(n.in(0), spatial_axes(n.in(0)), true)}; }
Results global_max_pool(Node n) { return {reduce_max(n.in(0), spatial_axes(n.in(0)), true)}; }

// A vector per channel in a shape that broadcasts over [N, C, ...].
Var per_channel(Var v, int rank) {
  Shape shape{v.shape().at(0)};
  for (int i = 2; i < rank; ++i) shape.append(1);
  return reshape(v, shape);
}

Results batch_normalization(Node n) {
  if (n.integer("training_mode", 0) != 0) n.unsupported("BatchNormalization in training mode");
  const Var x = n.in(0);
  const Var scale = n.in(1) * rsqrt(cast(n.in(4), n.in(1).dtype()) + n.number("epsilon", 1e-5));
  const Var shift = n.in(2) - cast(n.in(3), n.in(2).dtype()) * scale;
  return {x * cast(per_channel(scale, x.rank()), x.dtype()) + cast(per_channel(shift, x.rank()), x.dtype())};
}

// (x - mean) / sqrt(var + epsilon) over `axes`; also the mean and the inverse deviation.
Results standardize(Var x, const Ints& axes, double epsilon) {
  const Var mean = reduce_mean(x, axes, true);
  const Var centered = x - mean;
  const Var inverse = rsqrt(reduce_mean(centered * centered, axes, true) + epsilon);
  return {centered * inverse, mean, inverse};
}

Results instance_normalization(Node n) {
  const Var x = n.in(0);
  const Var y = standardize(x, spatial_axes(x), n.number("epsilon", 1e-5))[0];
  return {y * per_channel(n.in(1), x.rank()) + per_channel(n.in(2), x.rank())};
}

Results layer_normalization(Node n) {
  const Var x = n.in(0);
  const int axis = normalize_axis(n.integer("axis", -1), x.rank(), "axis");
  Ints axes(static_cast<std::size_t>(x.rank() - axis));
  std::iota(axes.begin(), axes.end(), axis);
  // stash_type 1: mean and deviation in f32.
  const DType stash = n.integer("stash_type", 1) == 1 && x.dtype() != DType::f64 ? DType::f32 : x.dtype();
  Results parts = standardize(cast(x, stash), axes, n.number("epsilon", 1e-5));
  Var y = cast(parts[0], x.dtype()) * n.in(1);
  if (n.has(2)) y = y + n.in(2);
  return {y, parts[1], parts[2]};
}

Results rms_normalization(Node n) {
  const Var x = n.in(0);
  Ints axes;
  for (int axis = normalize_axis(n.integer("axis", -1), x.rank(), "axis"); axis < x.rank(); ++axis)
    axes.push_back(axis);
  const DType stash = n.integer("stash_type", 1) == 1 && x.dtype() != DType::f64 ? DType::f32 : x.dtype();
  const Var wide = cast(x, stash);
  const Var y = wide * rsqrt(reduce_mean(wide * wide, axes, true) + n.number("epsilon", 1e-5));
  return {cast(y, x.dtype()) * n.in(1)};
}

// scale and bias per channel since operator set 21, per group before.
Results group_normalization(Node n) {
  const Var x = n.in(0);
  const std::int64_t groups = n.integer("num_groups", 0);
  const std::int64_t channels = x.shape().at(1);
  if (!x.shape().known()) n.unsupported("GroupNormalization over a shape that is not known");
  if (groups <= 0 || channels % groups != 0)
    n.invalid(std::to_string(groups) + " groups of " + std::to_string(channels) + " channels");
  const Var grouped = reshape(x, Shape{x.shape()[0], groups, kUnknown});
  Var y = standardize(grouped, {2}, n.number("epsilon", 1e-5))[0];
  Var scale = n.in(1), bias = n.in(2);
  if (n.version() < 21) {
    const auto spread = [&](Var v) {
      return reshape(broadcast_to(reshape(v, Shape{groups, 1}), Shape{groups, channels / groups}), Shape{channels});
    };
    scale = spread(scale);
    bias = spread(bias);
  }
  y = reshape(y, x.shape());
  return {y * per_channel(scale, x.rank()) + per_channel(bias, x.rank())};
}

// Inference: the input itself; the mask, where asked for, is all true.
Results dropout_operator(Node n) {
  if (n.has(2) && n.number_input(2, 0) != 0) n.unsupported("Dropout in training mode");
  const Var x = n.in(0);
  Results results{x};
  if (n.wants_output(1)) results.push_back(expand_to(scalar(n.graph, DType::boolean, 1), shape_of(x)));
  return results;
}

constexpr Operator kOperators[] = {
    {"AveragePool", 7, kAny, average_pool_operator},
    {"BatchNormalization", 7, kAny, batch_normalization},
    {"Conv", 1, kAny, conv},
    {"ConvTranspose", 1, kAny, conv_transpose},
    {"Dropout", 7, kAny, dropout_operator},
    {"GlobalAveragePool", 1, kAny, global_average_pool},
    {"GlobalMaxPool", 1, kAny, global_max_pool},
    {"GroupNormalization", 18, kAny, group_normalization},
    {"InstanceNormalization", 6, kAny, instance_normalization},
    {"LayerNormalization", 17, kAny, layer_normalization},
    {"MaxPool", 1, kAny, max_pool_operator},
    {"RMSNormalization", 23, kAny, rms_normalization},
};

}  // namespace

std::span<const Operator> nn_operators() { return kOperators; }

}  // namespace ml::onnx
