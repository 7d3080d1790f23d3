#include "engine/formats/onnx/import.h"

#include <string>
#include <vector>

#include "engine/formats/onnx/needs.h"
#include "engine/formats/onnx/node.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/scope.h"
#include "engine/formats/onnx/tensor.h"
#include "engine/formats/onnx/wire.h"
#include "ml/error.h"

namespace ml::onnx {
namespace {

void check_version(const Versions& versions) {
  const auto own = versions.find("");
  if (own == versions.end() || (own->second >= kOldestOpset && own->second <= kLatestOpset)) return;
  throw Error(
      Code::unsupported, "operator set " + std::to_string(own->second) + " is not supported", {},
      "convert the model to operator set " + std::to_string(kOldestOpset) + " to " + std::to_string(kLatestOpset));
}

Var add_input(Graph& graph, const pb::ValueInfo& input) {
  const std::string where = "input '" + input.name() + "'";
  if (!input.type().has_tensor_type())
    throw Error(Code::unsupported, "sequences, maps and optionals are not supported", where);
  const auto& tensor = input.type().tensor_type();
  if (!tensor.has_shape()) throw Error(Code::unsupported, "an input without a rank is not supported", where);
  Shape shape;
  std::vector<std::string> symbols;
  for (const auto& dim : tensor.shape().dim()) {
    const bool known = dim.has_dim_value() && dim.dim_value() >= 0;
    std::string symbol = known ? "" : dim.dim_param();
    if (!known && symbol.empty()) symbol = input.name() + "." + std::to_string(symbols.size());
    shape.append(known ? dim.dim_value() : kUnknown);
    symbols.push_back(symbol);
  }
  if (shape.known()) symbols.clear();
  return {&graph, graph.add_input(input.name(), {dtype_of(tensor.elem_type(), where), shape}, symbols)};
}

}  // namespace

Graph import_model(const std::shared_ptr<const Blob>& file, const passes::Evaluate& evaluate) {
  pb::Model model;
  if (!model.ParseFromString(lift_tensors(file->bytes()))) {
    throw Error(Code::corrupt, "not an ONNX model: a field has the wrong type", {},
                "is this an ONNX file, and complete?");
  }
  if (!model.has_graph()) throw Error(Code::corrupt, "the model has no graph", {}, "is this an ONNX file?");
  const pb::Graph& proto = model.graph();
  const Versions versions = versions_of(model.opset_import());
  Session session(model, file);
  check_version(versions);
  check_needs(session, versions);

  Target target(evaluate, session.budget);
  target.graph.name = proto.name().empty() ? "main" : proto.name();
  Scope scope(session, target, versions);
  scope.import_initializers(proto);
  for (const pb::ValueInfo& input : proto.input()) {
    // Older models list initializers as inputs too: they keep their values.
    if (!scope.defines(input.name())) scope.define(input.name(), add_input(target.graph, input), "input");
  }
  scope.import_nodes(proto.node());
  for (const pb::ValueInfo& output : proto.output())
    target.graph.add_output(output.name(), scope.value(output.name(), "output").tensor.id);
  verify(target.graph);
  return std::move(target.graph);
}

}  // namespace ml::onnx
