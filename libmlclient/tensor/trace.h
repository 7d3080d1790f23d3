// Recorded functions as graphs: placeholders become inputs, whatever else they were computed from becomes constants.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "libmlclient/tensor/call.h"

namespace ml::client {

struct TracedPort {
  std::string name;
  Tensor tensor;
  std::vector<std::string> symbols = {};  // inputs only: names of unknown extents
};

// A graph with these inputs (placeholders, used or not) and outputs, in this order. Values of other tensors that the
// outputs depend on are copied into constants.
Graph trace_to_graph(std::span<const TracedPort> inputs, std::span<const TracedPort> outputs);

// d loss / d t for each t as ml::grad records them; undefined where the loss does not depend on t.
std::vector<Tensor> gradients_where_reached(const Tensor& loss, std::span<const Tensor> with_respect_to);

}  // namespace ml::client
