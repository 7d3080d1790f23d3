// Operators that make tensors of numbers: filled, counted, or told by their positions.
#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_dynamic.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

Results constant_of_shape(Node n) {
  const ConstantPtr value = n.tensor("value");
  if (value && value->shape.elements() != 1) n.invalid("value must be one number, not " + value->shape.str());
  const Var element = value ? reshape(constant(n.graph, value), {}) : scalar(n.graph, DType::f32, 0);
  return {filled(n, element, cast(n.in(0), DType::i64))};
}

// [start, start + delta, ...) as far as limit: max(0, ceil((limit - start) / delta)) numbers.
Results range(Node n) {
  const auto number = [&](std::size_t i) { return n.settled(reshape(n.in(i), Shape{})); };
  const Var start = number(0), limit = number(1), delta = number(2);
  if (known(delta) == 0.0) n.invalid("a step of 0");
  const Var length = limit - start;
  // Integers round up without leaving their dtype.
  const Var count = is_floating(start.dtype()) ? ceil(cast(length, DType::f64) / cast(delta, DType::f64))
                                               : (length + delta - sign(delta)) / delta;
  const Var steps = count_up(n, cast(maximum(count, 0.0), DType::i64), DType::i64);
  return {cast(steps, start.dtype()) * delta + start};
}

// The numbers of the rows of a matrix, and of its columns, to be compared.
struct Places {
  Var row, column;
};
Places places(Node n, Var matrix) {
  if (matrix.rank() < 2) n.invalid("a matrix is needed, not " + matrix.shape().str());
  const auto along = [&](int axis) { return count_up(n, extent_of(matrix, axis), DType::i64); };
  return {unsqueeze(along(matrix.rank() - 2), {1}), along(matrix.rank() - 1)};
}

Results trilu(Node n) {
  const Var x = n.in(0);
  const auto [row, column] = places(n, x);
  const Var diagonal = n.has(1) ? row + number_input(n, 1) : row;
  const Var kept = n.integer("upper", 1) != 0 ? ge(column, diagonal) : le(column, diagonal);
  return {select(kept, x, scalar(n.graph, x.dtype(), 0))};
}

Results eye_like(Node n) {
  const Var x = n.in(0);
  if (x.rank() != 2) n.invalid("a matrix is needed, not " + x.shape().str());
  const auto [row, column] = places(n, x);
  return {cast(eq(column, row + static_cast<double>(n.integer("k", 0))), n.dtype("dtype", x.dtype()))};
}

// values = [off, on]; indices outside of [-depth, depth) give a row of "off".
Results one_hot(Node n) {
  const Var indices = cast(n.in(0), DType::i64), depth = number_input(n, 1), values = n.in(2);
  if (known_integer(depth).value_or(1) < 0) n.invalid("a negative depth");
  const int rank = indices.rank() + 1;
  const int axis = normalize_axis(n.integer("axis", -1), rank, "axis");
  Ints others;
  for (int i = axis + 1; i < rank; ++i) others.push_back(i - axis);
  const Var wrapped = select(lt(indices, 0.0), indices + depth, indices), classes = count_up(n, depth, DType::i64);
  const Var hot = eq(unsqueeze(wrapped, {axis}), others.empty() ? classes : unsqueeze(classes, others));
  return {select(hot, element(n, values, 1), element(n, values, 0))};
}

constexpr Operator kOperators[] = {
    {"ConstantOfShape", 9, kAny, constant_of_shape},
    {"EyeLike", 9, kAny, eye_like},
    {"OneHot", 9, kAny, one_hot},
    {"Range", 11, kAny, range},
    {"Trilu", 14, kAny, trilu},
};

}  // namespace

std::span<const Operator> generate_operators() { return kOperators; }

}  // namespace ml::onnx
