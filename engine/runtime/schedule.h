// The order in which a plan runs a graph's nodes, chosen so that donated state can be written where it stands.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/graph/graph.h"

namespace ml::runtime {

// Values that share their bytes: a reshape is its operand seen otherwise. The first value of each storage, by value.
std::vector<ValueId> storages_of(const Graph& graph);

struct Schedule {
  std::vector<std::uint32_t> order;  // indices of nodes
  // Per donation: true when every other reader of the donated input stands before the node that makes the output, so
  // that node may write into the input's memory (if it doesn't read it itself, or can work in place).
  std::vector<bool> direct;
};

// Keeps the graph's order but for what donations ask for. A reader that needs the new value as well can't come before
// it; that donation is then not direct, and the plan copies.
Schedule schedule(const Graph& graph, const std::vector<ValueId>& storages);

}  // namespace ml::runtime
