#include "engine/formats/onnx/import.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/formats/onnx/model_proto.h"
#include "engine/formats/onnx/needs.h"
#include "engine/formats/onnx/node.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/scope.h"
#include "engine/formats/onnx/signature.h"
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

// What is said of an input that is not there has been said by mistake.
void check_names(const ImportOptions& options, const pb::Graph& graph, const Scope& initializers) {
  std::vector<std::string_view> inputs;
  std::string list;
  for (const pb::ValueInfo& input : graph.input()) {
    if (initializers.defines(input.name())) continue;
    inputs.push_back(input.name());
    list += (list.empty() ? "'" : ", '") + input.name() + "'";
  }
  const auto check = [&](const std::string& name) {
    if (std::ranges::find(inputs, name) != inputs.end()) return;
    throw Error(Code::invalid_argument, "the model has no input '" + name + "'", {},
                "its inputs are " + (list.empty() ? "none" : list));
  };
  for (const auto& [name, form] : options.forms) check(name);
  for (const auto& [name, value] : options.values) check(name);
}

}  // namespace

Graph import_model(const std::shared_ptr<const Blob>& file, const passes::Evaluate& evaluate,
                   const ImportOptions& options) {
  Files files(file, options);
  const pb::Model model = read_model(files);
  const pb::Graph& proto = model.graph();
  const Versions versions = versions_of(model.opset_import());
  Session session(model, std::move(files));
  check_version(versions);
  check_needs(session, versions);

  Target target(evaluate, session.budget);
  target.graph.name = proto.name().empty() ? "main" : proto.name();
  Scope scope(session, target, versions);
  scope.import_initializers(proto);
  check_names(options, proto, scope);
  for (const pb::ValueInfo& input : proto.input()) {
    // Older models list initializers as inputs too: they keep their values.
    if (!scope.defines(input.name())) scope.define(input.name(), add_input(target.graph, input, options), "input");
  }
  scope.import_nodes(proto.node());
  for (const pb::ValueInfo& output : proto.output())
    add_output(target.graph, output.name(), scope.value(output.name(), "output"));
  verify(target.graph);
  return std::move(target.graph);
}

}  // namespace ml::onnx
