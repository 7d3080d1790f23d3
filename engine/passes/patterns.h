// Looking at how a value came about.
#pragma once

#include <optional>
#include <string_view>

#include "engine/graph/build.h"

namespace ml::passes {

// The node that makes `value` when its op is `op`, otherwise null. Appending to the graph ends its life.
inline const Node* made_by(const Graph& graph, ValueId value, std::string_view op) {
  const Node* producer = graph.producer(value);
  return producer != nullptr && producer->op->name == op ? producer : nullptr;
}
inline const Node* made_by(Var x, std::string_view op) { return made_by(*x.graph, x.id, op); }
// Input i of a node that made_by() found.
inline Var operand(Var of, const Node& node, std::size_t i) { return {of.graph, node.inputs[i]}; }

// The number that every element of a small constant is, also where it was broadcast or reshaped.
std::optional<double> splat_of(const Graph& graph, ValueId value);
inline std::optional<double> splat_of(Var x) { return splat_of(*x.graph, x.id); }
// Whether it is that number, as the dtype of the value rounds it.
bool is_splat(const Graph& graph, ValueId value, double wanted);
inline bool is_splat(Var x, double wanted) { return is_splat(*x.graph, x.id, wanted); }

}  // namespace ml::passes
