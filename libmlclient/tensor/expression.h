// Walking recorded expressions: from tensors back to what they are computed from.
#pragma once

#include <span>
#include <vector>

#include "libmlclient/tensor/call.h"
#include "libmlclient/tensor/program_cache.h"

namespace ml::client {

// The structure of some values and the leaves that go with it.
struct Expression {
  Structure structure;
  std::vector<TensorValuePtr> leaves;
};

// Everything that `results` (recorded values) depend on. Hold recording_mutex().
Expression walk(std::span<const TensorValuePtr> results);

// The structure as a graph with one input per leaf and one output per result, named x0, x1, ... and y0, y1, ...
Graph to_graph(const Structure& structure);

}  // namespace ml::client
