// Softmax and what else scales a tensor along axes.
#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// Before operator set 13 the default axis was 1, and all axes from it on were normalized together.
template <class Normalize>
Results along_axis(Node n, Normalize normalize) {
  const Var x = n.in(0);
  const bool together = n.version() < 13;
  std::int64_t axis = n.integer("axis", together ? 1 : -1);
  if (!together || axis != x.rank()) axis = normalize_axis(axis, x.rank(), "axis");
  if (!together || axis == x.rank() - 1) return {normalize(x, axis)};
  const std::vector<Var> extents = extents_of(x);
  const std::span<const Var> all(extents);
  const auto at = static_cast<std::size_t>(axis);
  const Var rows[] = {n.settled(product(n.graph, all.first(at))), n.settled(product(n.graph, all.subspan(at)))};
  return {reshape_to(normalize(shaped(n, x, rows), 1), shape_of(x), true)};
}

template <Var (*normalize)(Var, std::int64_t)>
Results normalized(Node n) {
  return along_axis(n, normalize);
}

// 1 at the first of the largest, 0 elsewhere.
Results hardmax(Node n) {
  return along_axis(n, [&n](Var x, std::int64_t axis) {
    if (x.shape()[static_cast<int>(axis)] == 0) return x;
    Ints behind;
    for (std::int64_t i = axis + 1; i < x.rank(); ++i) behind.push_back(i - axis);
    const Var places = count_up(n, n.settled(extent_of(x, static_cast<int>(axis))), DType::i64);
    return cast(eq(behind.empty() ? places : unsqueeze(places, behind), argmax(x, axis, true)), x.dtype());
  });
}

Results lp_normalization(Node n) {
  const Var x = n.in(0);
  const std::int64_t axis = normalize_axis(n.integer("axis", -1), x.rank(), "axis"), p = n.integer("p", 2);
  if (p != 1 && p != 2) n.invalid("p = " + std::to_string(p) + ", only 1 and 2 are possible");
  const Var norm = p == 1 ? reduce_sum(abs(x), {axis}, true) : sqrt(reduce_sum(x * x, {axis}, true));
  const Var zero = scalar(n.graph, x.dtype(), 0);
  return {select(eq(norm, zero), zero, x / norm)};
}

// The deviation from the mean, over the standard deviation.
Results mean_variance_normalization(Node n) {
  const Var x = n.in(0), wide = cast(x, dtype_info(x.dtype()).compute);
  const Ints axes = n.ints("axes", {0, 2, 3});
  const Var centred = wide - reduce_mean(wide, axes, true);
  return {cast(centred / (sqrt(reduce_mean(centred * centred, axes, true)) + 1e-9), x.dtype())};
}

constexpr Operator kOperators[] = {
    {"Hardmax", 1, kAny, hardmax},
    {"LogSoftmax", 1, kAny, normalized<log_softmax>},
    {"LpNormalization", 1, kAny, lp_normalization},
    {"MeanVarianceNormalization", 9, kAny, mean_variance_normalization},
    {"Softmax", 1, kAny, normalized<softmax>},
};

}  // namespace

std::span<const Operator> normalize_operators() { return kOperators; }

}  // namespace ml::onnx
