// What Loop and Scan have in common: a body that is one turn.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/formats/onnx/node.h"

namespace ml::onnx {

// One element of any rank as a scalar.
Var one_element(Var x);

// A subgraph in a graph of its own.
struct Turn {
  std::vector<TensorType> types;  // of the graph's inputs
  std::unique_ptr<Target> target;
  std::vector<Value> results;
  bool steady = true;  // what is carried keeps its shape
};

// What a body is called with, given the inputs of its graph.
using Arguments = std::function<std::vector<Value>(std::span<const Var> inputs)>;

// Imports `body` for inputs of `types`. The inputs from `first` on are carried: results from `first_result` on replace
// them in the next turn. Extents that a turn changes are made unknown, until one turn fits the next.
Turn import_turn(const NodeContext& n, const Subgraph& body, std::vector<TensorType> types, std::size_t first,
                 std::size_t carried, std::size_t first_result, const Arguments& arguments);

std::vector<TensorType> types_of(std::span<const Var> values);

}  // namespace ml::onnx
