// Extents and other small integers as values of the graph. Where the model tells them they are constants, elsewhere
// they are computed from shape_of and binding makes constants of them.
#pragma once

#include "engine/formats/onnx/node.h"

namespace ml::onnx {

Var vector_of(Graph& graph, const Ints& values);  // i64[values]
Var number_of(Graph& graph, std::int64_t value);  // i64[]
Var extent_of(Var x, int axis);                   // i64[]
Var vector_of(std::span<const Var> numbers);      // i64[] each
// Element `index` of a vector, as a scalar. Looks through what exporters build vectors of (Concat, Cast, Unsqueeze,
// Slice, Gather, Shape), so that what is known of it alone is found.
Var element(const NodeContext& n, Var vector, std::int64_t index);
// The product of i64[] numbers; 1 of none.
Var product(Graph& graph, std::span<const Var> numbers);
// The extents of x.
std::vector<Var> extents_of(Var x);
// x reshaped to these extents (i64[] each). A static reshape where it can be one: known extents, those of the same
// dimension of x, and at most one other.
Var shaped(const NodeContext& n, Var x, std::span<const Var> extents);
// x[begin, end) along `axis`, for i64[] bounds in [0, extent].
Var part_of(const NodeContext& n, Var x, int axis, Var begin, Var end);
// Input `i`, one integer in a tensor of rank 0 or 1, as i64[].
Var number_input(const NodeContext& n, std::size_t i);

// Whether `number` is what extent_of(x, axis) answers.
bool is_extent_of(Var number, Var x, int axis);
// [0, 1, ... count - 1] for an i64[] count.
Var count_up(const NodeContext& n, Var count, DType dtype);
// `element` (rank 0) repeated into the shape that the i64 vector says.
Var filled(const NodeContext& n, Var element, Var shape);
// x with the extents that ReshapeAttributes describes; `kept` is how one of them names dimension i of x, of `extent`.
Var reshaped(Var x, Ints dims);
std::int64_t kept(std::int64_t extent, int i);
// The value of a scalar that is a constant.
std::optional<double> known(Var number);
std::optional<std::int64_t> known_integer(Var number);

}  // namespace ml::onnx
