// Operators of an application's own, for models that use a domain of its own.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/formats/onnx/node.h"

namespace ml::onnx {

// Answers the node's outputs as values of node.graph, built with the words of engine/graph/build.h. Errors are thrown
// with node.invalid and node.unsupported, which name the node.
using ImportOperator = std::function<std::vector<Var>(const NodeContext& node)>;

// Imports nodes of `type` in `domain` for models that declare a version from `since` to `until` of that domain, from
// now on and in every thread of the process. Throws invalid_argument for a domain of ONNX's own (empty or ai.onnx...)
// or of the engine's (kRowDomain), for a range that is none, and where an operator of that name and version is there
// already.
void register_operator(std::string domain, std::string type, int since, int until, ImportOperator import);

// Null when there is none.
const ImportOperator* find_registered(std::string_view domain, std::string_view type, int version);

}  // namespace ml::onnx
