// ONNX models as graphs. docs/onnx.md lists what is supported.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "engine/graph/graph.h"
#include "engine/passes/passes.h"

namespace ml::onnx {

// Reads a model. `file` holds the ModelProto's bytes (a mapped file); tensors of 1 KiB or more become constants that
// refer into it. Inputs keep their names, symbolic dimensions become symbols. Operators follow the version that the
// model declares (opsets 1 to 27). `evaluate` computes small constant expressions on the way.
//
// Throws corrupt (with the byte or the tensor) for a file that breaks the format; unsupported, naming op, domain,
// version and node of everything that is missing at once, for what cannot be done here; invalid_argument, naming the
// node, where shapes do not fit.
Graph import_model(const std::shared_ptr<const Blob>& file, const passes::Evaluate& evaluate);

}  // namespace ml::onnx
