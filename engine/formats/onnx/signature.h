// The inputs and outputs of a model as those of a graph, whose values are tensors; import.h says how they are named.
#pragma once

#include <string>

#include "engine/formats/onnx/import.h"
#include "engine/formats/onnx/value.h"

namespace ml::onnx {

namespace pb {
class ValueInfo;
}

// Appends the inputs that `input` stands for. Throws unsupported, with what to say in `options`, where the model
// leaves open how many there are or which rank they have.
Value add_input(Graph& graph, const pb::ValueInfo& input, const ImportOptions& options);
void add_output(Graph& graph, const std::string& name, const Value& value);

}  // namespace ml::onnx
