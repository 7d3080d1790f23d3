// Reverse-mode differentiation as a graph transform, before any lowering.
#pragma once

#include <span>
#include <vector>

#include "engine/graph/build.h"

namespace ml {

// Appends the gradient of sum_i <outputs[i], seeds[i]> with respect to each of `wrt` to their graph. Seeds have their
// output's type and count as constants; `wrt` are floating values (graph inputs or intermediate) and may be outputs of
// each other. A value that no output depends on gets zeros. The result is ordinary IR, so it can be differentiated
// again. Throws unsupported, naming the op and its reason, where the path needs an op that has no gradient, and
// invalid_argument where an extent on the path is unknown.
std::vector<Var> gradients(std::span<const Var> outputs, std::span<const Var> seeds, std::span<const Var> wrt);

// The usual case: a scalar output and the seed 1.
std::vector<Var> gradients(Var loss, std::span<const Var> wrt);

}  // namespace ml
