// When a pass may compute a node itself, and doing so.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/passes/passes.h"

namespace ml::passes {

// The value of every output of `node` when all of its inputs (of `graph`, per node input) are constants, the outputs
// are small (`limit` bytes together) and not merely larger copies of what is there already; otherwise nothing.
std::vector<ConstantPtr> evaluate_constant(const Graph& graph, const Node& node, std::span<const ConstantPtr> constants,
                                           const Evaluate& evaluate, std::uint64_t limit);
// The result of a slice, transpose, broadcast_to or gather of constants; null for any other node and for an index out
// of range.
ConstantPtr moved_constant(const Graph& graph, const Node& node, std::span<const ConstantPtr> constants);
// Per input of `node`, the constant that it is in `graph`, or null.
std::vector<ConstantPtr> constant_inputs(const Graph& graph, std::span<const ValueId> inputs);

}  // namespace ml::passes
