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

}  // namespace ml::onnx
