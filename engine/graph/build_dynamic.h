// Ops whose result shape is told by a tensor. They exist in graphs with symbolic inputs and are gone once the graph is
// bound.
#pragma once

#include "engine/graph/build.h"

namespace ml {

// The extents of x as an i64 vector of length rank.
Var shape_of(Var x);
// x in the shape that the i64 vector `shape` holds. One -1 is inferred; 0 keeps x's extent at that place unless
// `allow_zero`.
Var reshape_to(Var x, Var shape, bool allow_zero = false);
// x broadcast together with the shape that the i64 vector `shape` holds (NumPy rules, so x may stay the larger one).
Var expand_to(Var x, Var shape);
// Like slice on the named axes, with i64 vectors for starts, ends and steps; steps may be negative, bounds clamp as in
// NumPy.
Var slice_by(Var x, Var starts, Var ends, Var steps, Ints axes);
// x with its dimensions in the order that the i64 vector `order` holds, one for each; negative ones count from the end.
Var transpose_by(Var x, Var order);

}  // namespace ml
