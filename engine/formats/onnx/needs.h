// What a model needs, looked at before anything is imported.
#pragma once

#include "engine/formats/onnx/scope.h"

namespace ml::onnx {

// Throws unsupported, naming op, domain, version and node of everything at once, when operators are missing anywhere
// in the model: in its graph, in subgraphs, in functions that are called. Throws corrupt for a function that calls
// itself.
void check_needs(const Session& session, const Versions& versions);

}  // namespace ml::onnx
