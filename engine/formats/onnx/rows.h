// What the exporter makes of a graph before it writes it: rows that ONNX has a counterpart for, in bodies too.
#pragma once

#include "engine/graph/graph.h"

namespace ml::onnx {

// Composites without a counterpart are replaced by their decomposition, calls by their bodies. Throws unsupported,
// naming every op that is left without one.
Graph in_written_rows(const Graph& graph);

// The first operator set that has the element types of such a graph for its rows, from kEarliestOpset on.
int opset_of_types(const Graph& graph);

}  // namespace ml::onnx
