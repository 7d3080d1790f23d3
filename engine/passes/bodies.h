// The subgraphs of control nodes, as passes meet them.
#pragma once

#include <optional>
#include <span>

#include "engine/graph/graph.h"
#include "engine/passes/passes.h"

namespace ml::passes {

// A control node once the shapes of its inputs are known: with bodies bound to them, or taken apart.
struct BoundBodies {
  AttributesPtr attributes;
  // Set when values decide shapes inside of a loop or call, or what a loop carries changes its shape: the same
  // computation without it (call), turn by turn (scan), or one turn and then the loop again (while).
  std::optional<Graph> unrolled;
};
// `inputs` are the types of the node's inputs; while one is unknown the bodies stay as they are.
BoundBodies bind_bodies(const Node& node, std::span<const TensorType> inputs, const Evaluate& evaluate);

// As bind(), for a body: what would have to be taken apart in it stays as it is, so that the result is not bound and
// what holds the body is taken apart first. (A loop in a branch that nobody may take must not be unrolled.)
Graph bind_body(const Graph& body, std::span<const Shape> input_shapes, const Evaluate& evaluate);

// Whether every body of a control node is bound.
bool bodies_bound(const Node& node);

}  // namespace ml::passes
