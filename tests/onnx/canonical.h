// Graphs up to names, for comparing.
#pragma once

#include <string>

#include "engine/graph/graph.h"
#include "engine/passes/passes.h"

namespace ml::onnx_test {

// The text form after the passes have cleaned the graph up, taken composites apart as far as extents allow and put
// nodes in the order in which outputs need them; in it names are numbers and large constants a hash of their bytes. Two
// graphs with equal forms are the same but for names.
std::string canonical(const Graph& graph, const passes::Evaluate& evaluate);

}  // namespace ml::onnx_test
