#include "engine/formats/onnx/export.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>

#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/tensor.h"
#include "engine/formats/onnx/wire.h"
#include "engine/formats/onnx/writer.h"
#include "engine/passes/passes.h"
#include "ml/error.h"

namespace ml::onnx {

const OpWriter* find_writer(const Graph& graph, const Node& node) {
  for (const auto table : std::array{element_writers, structure_writers, recurrent_writers}) {
    for (const OpWriter& row : table()) {
      if (row.op == node.op->name && (row.accepts == nullptr || row.accepts(graph, node))) return &row;
    }
  }
  return nullptr;
}

std::string Writer::fresh(char kind) {
  std::string name;
  do {
    name = kind + std::to_string(count_++);
  } while (taken_.count(name) != 0);
  return name;
}

std::string Writer::add(std::string_view op_type, const std::vector<std::string>& inputs,
                        const NamedAttributes& attributes, std::string output) {
  if (output.empty()) output = fresh('t');
  add_all(op_type, inputs, attributes, {output});
  return output;
}

void Writer::add_all(std::string_view op_type, const std::vector<std::string>& inputs,
                     const NamedAttributes& attributes, const std::vector<std::string>& outputs) {
  pb::Node& node = *proto_.add_node();
  node.set_op_type(std::string(op_type));
  for (const std::string& input : inputs) node.add_input(input);
  for (const std::string& output : outputs) node.add_output(output);
  for (const auto& [key, value] : attributes) {
    pb::Attribute& attribute = *node.add_attribute();
    attribute.set_name(key);
    if (const auto* i = std::get_if<std::int64_t>(&value)) {
      attribute.set_type(pb::Attribute::INT);
      attribute.set_i(*i);
    } else if (const auto* f = std::get_if<double>(&value)) {
      attribute.set_type(pb::Attribute::FLOAT);
      attribute.set_f(static_cast<float>(*f));
    } else if (const auto* s = std::get_if<std::string>(&value)) {
      attribute.set_type(pb::Attribute::STRING);
      attribute.set_s(*s);
    } else {
      attribute.set_type(pb::Attribute::INTS);
      for (const std::int64_t number : std::get<Ints>(value)) attribute.add_ints(number);
    }
  }
}

namespace {

void fill(pb::Tensor& tensor, const std::string& name, const ConstantData& constant) {
  tensor.set_name(name);
  tensor.set_data_type(onnx_type_of(constant.dtype));
  for (const std::int64_t extent : constant.shape.dims()) tensor.add_dims(extent);
}

void add_initializer(pb::Graph& proto, const std::string& name, const ConstantData& constant) {
  pb::Tensor& tensor = *proto.add_initializer();
  fill(tensor, name, constant);
  std::vector<std::byte> packed;
  const auto stored = stored_bytes(constant.dtype, constant.bytes(), packed);
  tensor.set_raw_data(stored.data(), stored.size());
}

}  // namespace

std::string Writer::tensor(const ConstantData& constant) {
  const std::string name = fresh('c');
  add_initializer(proto_, name, constant);
  return name;
}

std::string Writer::integers(const Ints& values) {
  return tensor(
      *make_constant(DType::i64, Shape{static_cast<std::int64_t>(values.size())}, std::as_bytes(std::span(values))));
}

std::string Writer::number(DType dtype, double value) { return tensor(*make_splat(dtype, {}, value)); }

namespace {

// A name for every value: its input's or first output's, otherwise "v<id>" with as many underscores as make it new.
std::vector<std::string> value_names(const Graph& graph, std::set<std::string>& taken) {
  std::vector<std::string> names(graph.values().size());
  for (const GraphInput& input : graph.inputs()) taken.insert(names[input.value] = input.name);
  for (const GraphOutput& output : graph.outputs()) {
    taken.insert(output.name);
    if (names[output.value].empty()) names[output.value] = output.name;
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!names[i].empty()) continue;
    names[i] = "v" + std::to_string(i);
    while (!taken.insert(names[i]).second) names[i] += "_";
  }
  return names;
}

void describe(pb::ValueInfo& info, const std::string& name, const TensorType& type,
              const std::vector<std::string>& symbols) {
  info.set_name(name);
  auto& tensor = *info.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(onnx_type_of(type.dtype));
  tensor.mutable_shape();
  for (int axis = 0; axis < type.shape.rank(); ++axis) {
    auto& dim = *tensor.mutable_shape()->add_dim();
    if (type.shape[axis] != kUnknown)
      dim.set_dim_value(type.shape[axis]);
    else if (!symbols.empty())
      dim.set_dim_param(symbols[static_cast<std::size_t>(axis)]);
  }
}

void refuse_missing(const Graph& graph) {
  std::map<std::string, int> missing;
  for (const Node& node : graph.nodes()) {
    if (node.op->kind != OpKind::constant && find_writer(graph, node) == nullptr) ++missing[std::string(node.op->name)];
  }
  if (missing.empty()) return;
  std::string text;
  for (const auto& [op, count] : missing) text += (text.empty() ? "" : ", ") + op + " (" + std::to_string(count) + ")";
  throw Error(Code::unsupported,
              "ONNX operator set " + std::to_string(kExportOpset) + " has no counterpart for: " + text);
}

// The operator set that brought an element type.
int opset_of(DType dtype) {
  switch (dtype) {
    case DType::i4:
    case DType::u4: return 21;
    case DType::f4e2m1: return 23;
    case DType::f8e8m0: return 24;
    case DType::i2:
    case DType::u2: return 25;
    default: return kExportOpset;
  }
}

int opset_of(const Graph& graph) {
  int opset = kExportOpset;
  for (const Value& value : graph.values()) opset = std::max(opset, opset_of(value.type.dtype));
  for (const Node& node : graph.nodes()) {
    if (node.op->kind != OpKind::constant) opset = std::max(opset, find_writer(graph, node)->opset);
  }
  return opset;
}

// The version of the file format that came with an operator set.
int ir_version_of(int opset) { return opset <= 20 ? 9 : opset <= 22 ? 10 : opset == 23 ? 11 : opset == 24 ? 12 : 13; }

std::set<const Node*> absorbed_nodes(const Writer& writer) {
  std::set<const Node*> absorbed;
  for (const Node& node : writer.graph.nodes()) {
    if (node.op->kind == OpKind::constant) continue;
    const OpWriter& row = *find_writer(writer.graph, node);
    if (row.absorbed == nullptr) continue;
    for (const Node* inner : row.absorbed(writer.graph, node)) {
      if (writer.uses(inner->first_output) != 1) break;
      absorbed.insert(inner);
    }
  }
  return absorbed;
}

void write_text(const Sink& sink, const std::string& text) { sink(std::as_bytes(std::span(text))); }

// Rows without a counterpart fall apart. Some can't before extents are known.
Graph in_written_rows(const Graph& source) {
  const auto keep = [](const Graph& graph, const Node& node) {
    return node.op->decompose == nullptr || find_writer(graph, node) != nullptr;
  };
  try {
    return passes::eliminate_dead_code(passes::decompose(source, keep));
  } catch (const Error& error) {
    if (error.code() != Code::invalid_argument || source.bound()) throw;
    throw Error(Code::unsupported,
                "ONNX has no counterpart for: a row that can be taken apart only once extents are known (" +
                    error.message() + ")",
                {}, "export a model whose shapes are known");
  }
}

}  // namespace

void export_model(const Graph& source, const Sink& sink) {
  const Graph graph = in_written_rows(source);
  refuse_missing(graph);

  pb::Model model;
  model.set_producer_name("mlaccel");
  const int opset = opset_of(graph);
  model.set_ir_version(ir_version_of(opset));
  model.add_opset_import()->set_version(opset);
  pb::Graph& proto = *model.mutable_graph();
  proto.set_name(graph.name);
  Writer writer(graph, proto);
  std::set<std::string> taken;
  std::vector<std::string> names = value_names(graph, taken);
  writer.set_names(std::move(names), std::move(taken));

  for (const GraphInput& input : graph.inputs())
    describe(*proto.add_input(), input.name, graph.type(input.value), input.symbols);
  std::vector<std::pair<std::string, const ConstantData*>> large;
  const std::set<const Node*> absorbed = absorbed_nodes(writer);
  for (const Node& node : graph.nodes()) {
    if (absorbed.contains(&node)) continue;
    std::vector<std::string> inputs, outputs;
    for (const ValueId value : node.inputs) inputs.push_back(writer.name(value));
    for (std::uint32_t i = 0; i < node.output_count; ++i) outputs.push_back(writer.name(node.output(i)));
    if (node.op->kind == OpKind::constant) {
      const ConstantData& constant = *node.as<ConstantAttributes>().value;
      if (constant.length() >= kLiftBytes)
        large.emplace_back(outputs[0], &constant);
      else
        add_initializer(proto, outputs[0], constant);
    } else {
      find_writer(graph, node)->write(writer, node, inputs, outputs);
    }
  }
  for (const GraphOutput& output : graph.outputs()) {
    describe(*proto.add_output(), output.name, graph.type(output.value), {});
    if (writer.name(output.value) != output.name) writer.add("Identity", {writer.name(output.value)}, {}, output.name);
  }
  write_text(sink, model.SerializeAsString());

  // Repeated occurrences of the one field `graph` are merged by every reader, so large initializers can follow one by
  // one.
  for (const auto& [name, constant] : large) {
    pb::Tensor tensor;
    fill(tensor, name, *constant);
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
