#include "engine/formats/onnx/model_proto.h"

#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "engine/formats/onnx/node.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/order.h"
#include "engine/formats/onnx/wire.h"
#include "ml/error.h"

namespace ml::onnx {
namespace {

pb::Model parse(const Files& files, std::uint32_t source) {
  pb::Model model;
  if (!model.ParseFromString(lift_tensors(files.file(source)->bytes(), source))) {
    throw Error(Code::corrupt, "not an ONNX model: a field has the wrong type", {},
                "is this an ONNX file, and complete?");
  }
  return model;
}

pb::Model parse_library(const Files& files, std::uint32_t source) {
  pb::Model library = parse(files, source);
  if (library.functions().empty())
    throw Error(Code::corrupt, "it has no functions (FunctionProto)", {}, "is this an ONNX file with functions?");
  for (const pb::Function& function : library.functions()) {
    if (!is_reserved(function.domain())) continue;
    throw Error(Code::invalid_argument,
                "the function " + describe(function) + " is of a domain that is ONNX's or this engine's own", {},
                "give it, and the nodes that call it, another domain");
  }
  return library;
}

class Merged {
 public:
  explicit Merged(pb::Model& model) : model_(model) {
    for (const pb::Function& function : model.functions()) sources_.emplace(key_of(function), 0);
  }

  void add(pb::Model library, std::uint32_t source, std::span<const FunctionLibrary> libraries) {
    for (pb::Function& function : *library.mutable_functions()) {
      const auto [found, added] = sources_.try_emplace(key_of(function), source);
      if (added) {
        *model_.add_functions() = std::move(function);
      } else if (found->second == source) {
        throw Error(Code::corrupt, "the function " + describe(function) + " is defined twice");
      } else if (found->second != 0) {
        throw Error(Code::invalid_argument,
                    "the function " + describe(function) + " is in '" + libraries[found->second - 1].name + "' too", {},
                    "give one of the two files");
      }
    }
  }

 private:
  using Key = std::tuple<std::string, std::string, std::string>;
  static Key key_of(const pb::Function& function) { return {function.domain(), function.name(), function.overload()}; }

  pb::Model& model_;
  std::map<Key, std::uint32_t> sources_;  // which file each function is of
};

}  // namespace

pb::Model read_model(const Files& files) {
  pb::Model model = parse(files, 0);
  if (!model.has_graph()) throw Error(Code::corrupt, "the model has no graph", {}, "is this an ONNX file?");
  Merged merged(model);
  std::uint32_t source = 0;
  for (const FunctionLibrary& library : files.libraries()) {
    try {
      ++source;
      merged.add(parse_library(files, source), source, files.libraries());
    } catch (const Error& error) {
      throw error.within("functions of '" + library.name + "'");
    }
  }
  return model;
}

}  // namespace ml::onnx
