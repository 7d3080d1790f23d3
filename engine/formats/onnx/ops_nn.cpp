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

// Whether a node normalizes with the statistics of x itself: an attribute says so before operator set 7 and since 14,
// in between the number of outputs did.
bool trains(Node n) {
  if (n.version() < 7) return n.integer("is_test", 0) == 0;
  if (n.version() >= 14) return n.integer("training_mode", 0) != 0;
  for (std::size_t i = 1; i < n.output_count(); ++i) {
    if (n.wants_output(i)) return true;
  }
  return false;
}

// Results: y, and where it trains the running mean and variance, before operator set 14 also those of x.
Results batch_normalization(Node n) {
  Var x = n.in(0);
  const double epsilon = n.number("epsilon", 1e-5), momentum = n.number("momentum", 0.9);
  // Before operator set 9 every element of an image could have statistics of its own: an image is then one of channels.
  const bool spatial = n.version() >= 9 || n.integer("spatial", 1) != 0;
  const auto flat = [&](Var v) { return spatial ? v : reshape(v, Shape{kUnknown}); };
  if (!spatial) {
    const std::vector<Var> extents = extents_of(x);
    x = shaped(n, x, std::vector<Var>{extents.at(0), n.settled(product(n.graph, std::span(extents).subspan(1)))});
  }
  const auto parameter = [&](std::size_t i) { return flat(cast(n.in(i), x.dtype())); };
  const auto whole = [&](Var y) { return spatial ? y : reshape_to(y, shape_of(n.in(0)), true); };
  if (!trains(n))
    return {whole(batch_norm_inference(x, parameter(3), parameter(4), parameter(1), parameter(2), epsilon))};
  const BatchNorm norm = batch_norm(x, parameter(1), parameter(2), epsilon);
  const auto like = [&](Var statistic, std::size_t i) {
    return spatial ? cast(statistic, n.in(i).dtype())
                   : reshape_to(cast(statistic, n.in(i).dtype()), shape_of(n.in(i)), true);
  };
  const Var mean = like(norm.mean, 3), variance = like(norm.variance, 4);
  const auto running = [&](std::size_t i, Var current) { return n.in(i)*momentum + current * (1 - momentum); };
  return {whole(norm.y), running(3, mean), running(4, variance), mean, variance};
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

constexpr Operator kOperators[] = {
    {"BatchNormalization", 1, kAny, batch_normalization},       {"GroupNormalization", 18, kAny, group_normalization},
    {"InstanceNormalization", 6, kAny, instance_normalization}, {"LRN", 1, kAny, local_response_normalization},
    {"LayerNormalization", 17, kAny, layer_normalization},      {"RMSNormalization", 23, kAny, rms_normalization},
};

}  // namespace

std::span<const Operator> nn_operators() { return kOperators; }

}  // namespace ml::onnx
