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
  if (static_cast<int>(rank) + 2 != x.rank())
    n.invalid("a window of " + std::to_string(rank) + " dimensions over " + x.shape().str());
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

Results batch_normalization(Node n) {
  if (n.integer("training_mode", 0) != 0) n.unsupported("BatchNormalization in training mode");
  const Var x = n.in(0);
  const auto operand = [&](std::size_t i) { return cast(n.in(i), x.dtype()); };
  return {batch_norm_inference(x, operand(3), operand(4), operand(1), operand(2), n.number("epsilon", 1e-5))};
}

// A group norm with one channel a group.
Results instance_normalization(Node n) {
  const std::int64_t channels = n.in(0).shape().at(1);
  if (channels == kUnknown) n.unsupported("InstanceNormalization over an unknown number of channels");
  return {group_norm(n.in(0), channels, n.in(1), n.in(2), n.number("epsilon", 1e-5)).y};
}

// Scale and bias may broadcast over the normalized dimensions; the row wants exactly those.
Results layer_normalization(Node n) {
  const Var x = n.in(0);
  const int axis = normalize_axis(n.integer("axis", -1), x.rank(), "axis");
  const Shape normalized(std::vector<std::int64_t>(x.shape().begin() + axis, x.shape().end()));
  const bool exact = n.in(1).shape() == normalized && (!n.has(2) || n.in(2).shape() == normalized);
  const Norm norm =
      layer_norm(x, exact ? n.in(1) : Var{}, exact && n.has(2) ? n.in(2) : Var{}, axis, n.number("epsilon", 1e-5));
  Var y = norm.y;
  if (!exact) y = n.has(2) ? y * n.in(1) + n.in(2) : y * n.in(1);
  return {y, norm.mean, norm.rstd};
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
  if (channels == kUnknown) n.unsupported("GroupNormalization over an unknown number of channels");
  if (groups <= 0 || channels % groups != 0) {
    n.invalid(std::to_string(groups) + " groups of " + std::to_string(channels) + " channels");
  }
  const auto operand = [&](std::size_t i) {
    if (n.version() >= 21) return n.in(i);
    return reshape(broadcast_to(reshape(n.in(i), Shape{groups, 1}), Shape{groups, channels / groups}), Shape{channels});
  };
  return {group_norm(x, groups, operand(1), operand(2), n.number("epsilon", 1e-5)).y};
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
