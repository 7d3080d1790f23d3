// The subgraphs of control nodes, as passes meet them.
#pragma once

#include <span>

#include "engine/graph/graph.h"
#include "engine/passes/passes.h"

namespace ml::passes {

// The node's attributes with every body bound to the shapes that `inputs` give it; the same pointer when the node has
// no bodies or they fit already.
AttributesPtr rebind_bodies(const Node& node, std::span<const TensorType> inputs, const Evaluate& evaluate);

}  // namespace ml::passes
