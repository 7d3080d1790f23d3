// ONNX models as graphs. docs/onnx.md lists what is supported.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/passes/passes.h"

namespace ml::onnx {

// What a caller knows of an input that the file leaves open.
struct InputForm {
  bool present = true;        // whether an optional holds something
  std::vector<Shape> shapes;  // of a tensor: one; of a sequence: that of each element, so their number too
};

// The bytes of a file that a model's tensors lie in, by the path from the model's folder that the model says: relative
// and without "..". What it answers is kept as long as the graph.
using OpenFile = std::function<std::shared_ptr<const Blob>(const std::string& location)>;

// An ONNX file that is looked at for its functions (FunctionProto) only.
struct FunctionLibrary {
  std::string name;  // the file's, for messages
  std::shared_ptr<const Blob> file;
};

struct ImportOptions {
  // By the input's name: for sequences, optionals, and tensors whose rank the file doesn't tell.
  std::map<std::string, InputForm, std::less<>> forms;
  // Inputs that become constants. What decides the length of a sequence, and not only shapes, has to be known.
  std::map<std::string, ConstantPtr, std::less<>> values;
  // What nodes of other domains than ONNX's and this engine's mean, where the model has no function of that domain,
  // name and overload itself.
  std::vector<FunctionLibrary> functions;
  // Without it a model whose tensors lie in other files is refused.
  OpenFile open;
};

// Reads a model. `file` holds the ModelProto's bytes (a mapped file); tensors of 1 KiB or more, and those in files
// of their own, become constants that refer into it, or into a library's file. Inputs keep their names, symbolic
// dimensions become symbols. Operators follow the version that the model declares (opsets 1 to 27). `evaluate` computes
// small constant expressions on the way.
//
// Graphs have tensors only: element i of a sequence `s` is the input or output `s.i`; what an optional `o` holds is
// `o`, which is not there when it is empty. Where an optional output is empty or not as values say, a bool `o.present`
// stands before it.
//
// Throws corrupt (with the byte or the tensor, and the library) for a file that breaks the format; denied for data
// outside of the model's folder; unsupported, naming op, domain, version and node of everything that is missing at
// once, for what cannot be done here; invalid_argument, naming the node, where shapes do not fit, and for options that
// do not: what is said of an input that the model has not or declares otherwise, a function in a domain of ONNX's or of
// this engine's, or in two libraries.
Graph import_model(const std::shared_ptr<const Blob>& file, const passes::Evaluate& evaluate,
                   const ImportOptions& options = {});

}  // namespace ml::onnx
