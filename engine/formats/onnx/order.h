// In which order the nodes of a graph are imported.
#pragma once

#include <string>
#include <vector>

#include "engine/formats/onnx/onnx.pb.h"

namespace ml::onnx {

// "node 3 'name' (Type)".
std::string describe(const pb::Node& node, int index);
// "'domain.name'".
std::string describe(const pb::Function& function);

// The nodes in an order in which every value is defined before a node, or a subgraph that it carries, uses it: files
// need not be sorted. Throws corrupt where there is a cycle.
std::vector<int> order_of(const google::protobuf::RepeatedPtrField<pb::Node>& nodes);

}  // namespace ml::onnx
