// The message that is imported: a model as its file has it, with the functions of libraries.
#pragma once

#include "engine/formats/onnx/files.h"

namespace ml::onnx {

namespace pb {
class Model;
}

// The model and, behind its own functions, those of the libraries that it has not itself. Throws corrupt for what is no
// ONNX model and for a library without functions; invalid_argument for functions in a domain of ONNX's or this engine's
// and for one that is in two libraries; all naming the library.
pb::Model read_model(const Files& files);

}  // namespace ml::onnx
