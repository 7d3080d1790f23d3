// Pad and CenterCropPad.
#include "engine/formats/onnx/padding.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// Axes named by an input whose length is known: amounts for every axis, those that it does not name 0.
Var spread(Node n, Var values, Var axes, int rank) {
  const Var nothing = broadcast_to(number_of(n.graph, 0), Shape{rank});
  return n.settled(scatter_add(nothing, axes, values, 0));
}

// Pads are [low of every axis, high of every axis]: an attribute before operator set 11, an input since, for the axes
// of another input since 18.
Results pad_operator(Node n) {
  const Var x = n.in(0);
  const bool attributes = n.version() < 11;
  const Var pads = attributes ? vector_of(n.graph, n.ints(n.version() < 2 ? "paddings" : "pads"))
                              : cast(n.settled(n.in(1)), DType::i64);
  const Var axes = n.has(3) ? cast(n.settled(n.in(3)), DType::i64) : Var{};
  const std::int64_t count = axes ? (axes.rank() == 1 ? axes.shape()[0] : kUnknown) : x.rank();
  if (count == kUnknown) n.unsupported("Pad with an unknown number of axes");
  if (pads.rank() != 1 || (pads.shape()[0] != 2 * count && pads.shape()[0] != kUnknown)) {
    n.invalid("pads " + pads.shape().str() + " for " + std::to_string(count) + " axes, two for each are needed");
  }
  std::vector<Padding> amounts;
  if (!axes || n.graph.constant(axes.id) != nullptr) {
    unsigned seen = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t named = axes ? element_as_int(*n.graph.constant(axes.id), i) : i;
      const int axis = normalize_axis(named, x.rank(), "axis");
      if ((seen >> axis & 1) != 0) n.invalid("axis " + std::to_string(axis) + " is named twice");
      seen |= 1u << axis;
      amounts.push_back({axis, element(n, pads, i), element(n, pads, i + count)});
    }
  } else {
    const Var low = spread(n, slice(pads, {0}, {count}), axes, x.rank());
    const Var high = spread(n, slice(pads, {count}, {2 * count}), axes, x.rank());
    for (int axis = 0; axis < x.rank(); ++axis)
      amounts.push_back({axis, element(n, low, axis), element(n, high, axis)});
  }
  Var value = attributes ? scalar(n.graph, x.dtype(), n.number("value", 0)) : scalar(n.graph, x.dtype(), 0);
  if (!attributes && n.has(2) && n.in(2).shape() != Shape{0}) value = n.settled(cast(reshape(n.in(2), {}), x.dtype()));
  return {padded(n, x, amounts, n.text("mode", "constant"), value)};
}

// Of a size that differs by an odd number, the larger half lies behind.
Results center_crop_pad(Node n) {
  const Var x = n.in(0), shape = n.settled(n.in(1));
  Ints axes = n.ints("axes");
  for (int axis = 0; axis < x.rank() && !n.has_attribute("axes"); ++axis) axes.push_back(axis);
  const auto count = static_cast<std::int64_t>(axes.size());
  if (shape.rank() != 1 || (shape.shape()[0] != count && shape.shape()[0] != kUnknown))
    n.invalid("a shape of " + shape.shape().str() + " extents for " + std::to_string(count) + " axes");
  std::vector<Padding> amounts;
  for (std::int64_t i = 0; i < count; ++i) {
    const int axis = normalize_axis(axes[static_cast<std::size_t>(i)], x.rank(), "axis");
    const Var more = cast(element(n, shape, i), DType::i64) - extent_of(x, axis);
    const Var low = div(more, 2.0);
    amounts.push_back({axis, low, more - low});
  }
  return {padded(n, x, amounts, "constant", scalar(n.graph, x.dtype(), 0))};
}

constexpr Operator kOperators[] = {
    {"CenterCropPad", 18, kAny, center_crop_pad},
    {"Pad", 1, kAny, pad_operator},
};

}  // namespace

std::span<const Operator> pad_operators() { return kOperators; }

}  // namespace ml::onnx
