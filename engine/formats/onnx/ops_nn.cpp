// Normalization and dropout.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

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

// x / (bias + alpha times the mean square over `size` channels around its own)^beta.
Results local_response_normalization(Node n) {
  const Var x = n.in(0);
  const std::int64_t size = n.integer("size", 0);
  if (size < 1 || x.rank() < 3) n.invalid("a size of " + std::to_string(size) + " over " + x.shape().str());
  // Channels are a line along which windows lie, for every position.
  const Var wide = cast(x, dtype_info(x.dtype()).compute);
  const Var square = reshaped(wide * wide, {kept(x.shape()[0], 0), 1, kept(x.shape()[1], 1), kUnknown});
  const Windows windows{{1, 1}, {(size - 1) / 2, 0}, {size / 2, 0}, {1, 1}};
  const Var mean = n.settled(reshape_to(average_pool(square, {size, 1}, windows, true), shape_of(x), true));
  const Var scale = mean * n.number("alpha", 0.0001) + n.number("bias", 1);
  return {cast(wide * pow(scale, -n.number("beta", 0.75)), x.dtype())};
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
    {"BatchNormalization", 7, kAny, batch_normalization},  {"Dropout", 7, kAny, dropout_operator},
    {"GroupNormalization", 18, kAny, group_normalization}, {"InstanceNormalization", 6, kAny, instance_normalization},
    {"LRN", 1, kAny, local_response_normalization},        {"LayerNormalization", 17, kAny, layer_normalization},
    {"RMSNormalization", 23, kAny, rms_normalization},
};

}  // namespace

std::span<const Operator> nn_operators() { return kOperators; }

}  // namespace ml::onnx
