#include "engine/formats/onnx/export.h"

#include <algorithm>
#include <string>

#include "engine/formats/onnx/node.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/rows.h"
#include "engine/formats/onnx/tensor.h"
#include "engine/formats/onnx/wire.h"
#include "engine/formats/onnx/writer.h"

namespace ml::onnx {
namespace {

// Inputs keep their names; outputs do too, unless it is that of an input.
struct Interface {
  std::vector<std::string> inputs, outputs;
};
Interface interface_of(const Graph& graph, std::set<std::string>& taken) {
  Interface names;
  for (const GraphInput& input : graph.inputs()) taken.insert(names.inputs.emplace_back(input.name));
  for (const GraphOutput& output : graph.outputs()) {
    std::string& name = names.outputs.emplace_back(output.name);
    while (!taken.insert(name).second) name += '_';
  }
  return names;
}

// The version of the file format that came with an operator set.
int ir_version_of(int opset) {
  return opset <= 14   ? 7
         : opset <= 18 ? 8
         : opset <= 20 ? 9
         : opset <= 22 ? 10
         : opset == 23 ? 11
         : opset == 24 ? 12
                       : 13;
}

constexpr int kFunctionsIrVersion = 8;

void add_version(google::protobuf::RepeatedPtrField<pb::OperatorSet>& sets, std::string_view domain, int version) {
  pb::OperatorSet& set = *sets.Add();
  set.set_domain(std::string(domain));
  set.set_version(version);
}

void write_text(const Sink& sink, const std::string& text) { sink(std::as_bytes(std::span(text))); }

}  // namespace

void export_model(const Graph& source, const Sink& sink, const ExportOptions& options) {
  const Graph graph = in_written_rows(source);

  pb::Model model;
  model.set_producer_name("mlaccel");
  pb::Graph& proto = *model.mutable_graph();
  proto.set_name(graph.name);
  const int target = std::max(options.opset, opset_of_types(graph));
  ModelParts parts{.proto = model, .target = target};
  const Interface names = interface_of(graph, parts.taken);
  Writer writer(graph, proto, parts, names.inputs);
  for (const GraphInput& input : graph.inputs())
    describe(*proto.add_input(), input.name, graph.type(input.value), input.symbols);
  for (std::size_t i = 0; i < names.outputs.size(); ++i) {
    const ValueId value = graph.outputs()[i].value;
    if (writer.name(value).empty()) writer.name_value(value, names.outputs[i]);
  }
  writer.write_nodes();
  for (std::size_t i = 0; i < names.outputs.size(); ++i) {
    const ValueId value = graph.outputs()[i].value;
    describe(*proto.add_output(), names.outputs[i], graph.type(value));
    if (writer.name(value) != names.outputs[i]) writer.add("Identity", {writer.name(value)}, {}, names.outputs[i]);
  }
  if (parts.opset > target) return export_model(source, sink, {.opset = parts.opset});
  model.set_ir_version(std::max(ir_version_of(target), parts.functions.empty() ? 0 : kFunctionsIrVersion));
  add_version(*model.mutable_opset_import(), {}, target);
  if (!parts.functions.empty()) add_version(*model.mutable_opset_import(), kRowDomain, 1);
  for (pb::Function& function : *model.mutable_functions()) add_version(*function.mutable_opset_import(), {}, target);
  write_text(sink, model.SerializeAsString());

  // Repeated occurrences of the one field `graph` are merged by every reader, so large initializers can follow one by
  // one.
  for (const auto& [name, constant] : parts.large) {
    pb::Tensor tensor;
    describe(tensor, name, *constant);
    std::vector<std::byte> packed;
    const auto stored = stored_bytes(constant->dtype, constant->bytes(), packed);
    std::string head = tensor.SerializeAsString();
    append_length(head, 9, stored.size());
    std::string prefix;
    append_length(prefix, 5, head.size() + stored.size());
    std::string outer;
    append_length(outer, 7, prefix.size() + head.size() + stored.size());
    write_text(sink, outer + prefix + head);
    sink(stored);
  }
}

}  // namespace ml::onnx
