#include "engine/formats/onnx/extents.h"

#include "engine/graph/build_dynamic.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

constexpr int kMostSteps = 32;  // that are looked through

const Op* op_of(Var x) {
  const Node* node = x.graph->producer(x.id);
  return node == nullptr ? nullptr : node->op;
}

Var picked(Var vector, std::int64_t index) {
  return vector.rank() == 0 ? vector : reshape(slice(vector, {index}, {index + 1}), {});
}

// Element `index` of a vector, or a scalar.
Var look_up(Var x, std::int64_t index, int steps) {
  const Node* const node = x.graph->producer(x.id);
  if (node == nullptr || steps == 0) return picked(x, index);
  const auto input = [&](std::size_t i) { return Var{x.graph, node->inputs[i]}; };
  const std::string_view op = node->op->name;
  if (op == "constant") {
    const ConstantData& value = *node->as<ConstantAttributes>().value;
    const std::uint64_t size = dtype_size(value.dtype);
    return constant(
        *x.graph, make_constant(value.dtype, {}, value.bytes().subspan(static_cast<std::size_t>(index) * size, size)));
  }
  if (op == "shape_of") return extent_of(input(0), static_cast<int>(index));
  if (op == "cast") return cast(look_up(input(0), index, steps - 1), x.dtype());
  if (op == "reshape" && input(0).rank() == 0) return look_up(input(0), 0, steps - 1);
  if (op == "reshape" && input(0).shape() == Shape{1}) return look_up(input(0), 0, steps - 1);
  if (op == "concat") {
    for (std::size_t part = 0; part < node->inputs.size(); ++part) {
      const std::int64_t length = input(part).shape()[0];
      if (length == kUnknown) break;
      if (index < length) return look_up(input(part), index, steps - 1);
      index -= length;
    }
    return picked(x, index);
  }
  if (op == "slice" && input(0).shape()[0] != kUnknown) {
    const SliceRange range = slice_range(node->as<SliceAttributes>(), 0, input(0).shape()[0]);
    return look_up(input(0), range.start + index * range.stride, steps - 1);
  }
  if (op == "gather" && input(0).rank() == 1 && input(0).shape().known()) {
    const ConstantData* const indices = x.graph->constant(node->inputs[1]);
    if (indices != nullptr) {
      std::int64_t place = element_as_int(*indices, index);
      if (place < 0) place += input(0).shape()[0];
      if (place >= 0 && place < input(0).shape()[0]) return look_up(input(0), place, steps - 1);
    }
  }
  return picked(x, index);
}

}  // namespace

Var vector_of(Graph& graph, const Ints& values) {
  return constant(graph, make_constant(DType::i64, Shape{static_cast<std::int64_t>(values.size())},
                                       std::as_bytes(std::span(values))));
}

Var number_of(Graph& graph, std::int64_t value) {
  return constant(graph, make_constant(DType::i64, {}, std::as_bytes(std::span(&value, 1))));
}

Var extent_of(Var x, int axis) {
  const std::int64_t extent = x.shape()[axis];
  return extent == kUnknown ? picked(shape_of(x), axis) : number_of(*x.graph, extent);
}

Var vector_of(std::span<const Var> numbers) {
  std::vector<Var> parts;
  for (const Var& number : numbers) parts.push_back(reshape(number, Shape{1}));
  return concat(parts, 0);
}

Var element(const NodeContext& n, Var vector, std::int64_t index) {
  vector = n.settled(vector);
  if (vector.rank() != 1) n.invalid("a vector is needed, not " + vector.shape().str());
  if (index < 0 || (vector.shape()[0] != kUnknown && index >= vector.shape()[0]))
    n.invalid("element " + std::to_string(index) + " of a vector " + vector.shape().str() + " is needed");
  return n.settled(look_up(vector, index, kMostSteps));
}

bool is_extent_of(Var number, Var x, int axis) {
  if (op_of(number) == nullptr || op_of(number)->name != "reshape") return false;
  const Var part{number.graph, number.graph->producer(number.id)->inputs[0]};
  if (op_of(part) == nullptr || op_of(part)->name != "slice") return false;
  const Node& slice = *part.graph->producer(part.id);
  const Var whole{part.graph, slice.inputs[0]};
  return op_of(whole) != nullptr && op_of(whole)->name == "shape_of" &&
         whole.graph->producer(whole.id)->inputs[0] == x.id && slice.as<SliceAttributes>().starts == Ints{axis};
}

Var count_up(const NodeContext& n, Var count, DType dtype) {
  count = n.settled(count);
  if (const ConstantData* known = n.graph.constant(count.id)) {
    const std::int64_t length = element_as_int(*known, 0);
    if (length < 0) n.invalid("an extent of " + std::to_string(length));
    return iota(n.graph, dtype, Shape{length}, 0);
  }
  const Var ones = expand_to(scalar(n.graph, dtype, 1), reshape(count, Shape{1}));
  return n.settled(cumsum(ones, 0, true));
}

Var filled(const NodeContext& n, Var element, Var shape) { return n.settled(expand_to(element, shape)); }

Var reshaped(Var x, Ints dims) {
  auto attributes = std::make_shared<ReshapeAttributes>();
  attributes->dims = std::move(dims);
  return emit("reshape", {x}, std::move(attributes));
}

std::int64_t kept(std::int64_t extent, int i) { return extent == kUnknown ? reshape_keeps(i) : extent; }

Var product(Graph& graph, std::span<const Var> numbers) {
  Var result;
  for (const Var& number : numbers) result = result ? result * number : number;
  return result ? result : number_of(graph, 1);
}

std::vector<Var> extents_of(Var x) {
  std::vector<Var> extents;
  for (int axis = 0; axis < x.rank(); ++axis) extents.push_back(extent_of(x, axis));
  return extents;
}

Var shaped(const NodeContext& n, Var x, std::span<const Var> extents) {
  auto attributes = std::make_shared<ReshapeAttributes>();
  int inferred = 0, same = 0, empty = 0;
  for (const Var& extent : extents) {
    std::int64_t dim = known_integer(n.settled(extent)).value_or(kUnknown);
    for (int axis = 0; dim == kUnknown && axis < x.rank(); ++axis) {
      if (is_extent_of(extent, x, axis)) dim = reshape_keeps(axis);
    }
    attributes->dims.push_back(dim);
    inferred += dim == kUnknown;
    same += dim < kUnknown;
    empty += dim == 0;
  }
  // Beside an empty dimension none can be inferred, and a kept one might turn out to be empty.
  if (inferred == 0 || (inferred == 1 && same == 0 && empty == 0)) return emit("reshape", {x}, std::move(attributes));
  return n.settled(reshape_to(x, vector_of(extents), true));
}

Var part_of(const NodeContext& n, Var x, int axis, Var begin, Var end) {
  const auto vector = [](Var number) { return reshape(number, Shape{1}); };
  return n.settled(slice_by(x, vector(begin), vector(end), vector_of(n.graph, Ints{1}), {axis}));
}

Var number_input(const NodeContext& n, std::size_t i) {
  const Var x = n.in(i);
  if (x.rank() > 1 || (x.rank() == 1 && x.shape()[0] != 1 && x.shape()[0] != kUnknown))
    n.invalid("input " + std::to_string(i) + " must be one number, not " + x.shape().str());
  return n.settled(reshape(cast(x, DType::i64), Shape{}));
}

std::optional<double> known(Var number) {
  const ConstantData* const value = number.graph->constant(number.id);
  if (value == nullptr || value->shape.elements() != 1) return std::nullopt;
  return element_as_double(*value, 0);
}

std::optional<std::int64_t> known_integer(Var number) {
  const ConstantData* const value = number.graph->constant(number.id);
  if (value == nullptr || value->shape.elements() != 1) return std::nullopt;
  return element_as_int(*value, 0);
}

}  // namespace ml::onnx
