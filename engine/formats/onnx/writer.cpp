#include "engine/formats/onnx/writer.h"

#include <algorithm>

#include "engine/formats/onnx/node.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/tensor.h"
#include "engine/formats/onnx/wire.h"

namespace ml::onnx {

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

void describe(pb::Tensor& tensor, const std::string& name, const ConstantData& constant) {
  tensor.set_name(name);
  tensor.set_data_type(onnx_type_of(constant.dtype));
  for (const std::int64_t extent : constant.shape.dims()) tensor.add_dims(extent);
}

namespace {

void add_initializer(pb::Graph& proto, const std::string& name, const ConstantData& constant) {
  pb::Tensor& tensor = *proto.add_initializer();
  describe(tensor, name, constant);
  std::vector<std::byte> packed;
  const auto stored = stored_bytes(constant.dtype, constant.bytes(), packed);
  tensor.set_raw_data(stored.data(), stored.size());
}

// What an attribute is where it isn't given, as far as those that came later need it.
bool says_nothing(const Attribute& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return *number == 0;
  if (const auto* text = std::get_if<std::string>(&value)) return *text == "none";
  const auto* numbers = std::get_if<Ints>(&value);
  return numbers != nullptr && std::ranges::all_of(*numbers, [](std::int64_t n) { return n == 1; });
}

void set(pb::Attribute& attribute, const char* key, const Attribute& value) {
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
  } else if (const auto* numbers = std::get_if<Ints>(&value)) {
    attribute.set_type(pb::Attribute::INTS);
    for (const std::int64_t number : *numbers) attribute.add_ints(number);
  } else {
    attribute.set_type(pb::Attribute::GRAPH);
    *attribute.mutable_g() = *std::get<GraphProto>(value);
  }
}

}  // namespace

Writer::Writer(const Graph& from, pb::Graph& proto, ModelParts& model, const std::vector<std::string>& input_names)
    : graph(from), proto_(proto), model_(model), uses_(use_counts(from)), names_(from.values().size()) {
  for (std::size_t i = 0; i < input_names.size(); ++i) names_[from.inputs()[i].value] = input_names[i];
}

std::string Writer::fresh(char kind) {
  std::string name;
  do {
    name = kind + std::to_string(model_.count++);
  } while (!model_.taken.insert(name).second);
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
  NamedAttributes all = attributes;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const char* const attribute = attribute_of_input(op_type, i, model_.target);
    const auto constant = waiting_.find(inputs[i]);
    if (attribute == nullptr || constant == waiting_.end()) {
      want(inputs[i]);
      node.add_input(inputs[i]);
      continue;
    }
    Ints values;
    for (std::int64_t k = 0; k < constant->second->shape.elements(); ++k)
      values.push_back(element_as_int(*constant->second, k));
    const bool one = constant->second->shape.rank() == 0;
    all.emplace_back(attribute, one ? Attribute(values[0]) : Attribute(values));
  }
  for (const std::string& output : outputs) node.add_output(output);
  model_.opset = std::max(model_.opset, opset_of(op_type));
  for (const auto& [key, value] : all) {
    if (const int since = opset_of(op_type, key); since != 0) {
      if (says_nothing(value)) continue;  // earlier operator sets don't know it
      model_.opset = std::max(model_.opset, since);
    }
    set(*node.add_attribute(), key, value);
  }
}

std::string Writer::tensor(const ConstantData& constant) {
  const std::string name = fresh('c');
  add_initializer(proto_, name, constant);
  return name;
}

std::string Writer::later(ConstantPtr constant) {
  return waiting_.emplace(fresh('c'), std::move(constant)).first->first;
}
void Writer::want(const std::string& name) {
  if (const auto found = waiting_.extract(name); !found.empty()) add_initializer(proto_, name, *found.mapped());
}

std::string Writer::integers(const Ints& values) {
  return later(
      make_constant(DType::i64, Shape{static_cast<std::int64_t>(values.size())}, std::as_bytes(std::span(values))));
}

std::string Writer::number(DType dtype, double value) { return later(make_splat(dtype, {}, value)); }

std::set<const Node*> Writer::absorbed_nodes() const {
  std::set<const Node*> absorbed;
  for (const Node& node : graph.nodes()) {
    if (node.op->kind == OpKind::constant) continue;
    const OpWriter& row = *find_writer(graph, node);
    if (row.absorbed == nullptr) continue;
    std::vector<const Node*> gone{&node};
    for (const Node* inner : row.absorbed(graph, node)) {
      std::ptrdiff_t reads = 0;
      for (const Node* reader : gone) reads += std::ranges::count(reader->inputs, inner->first_output);
      if (reads == uses(inner->first_output)) gone.push_back(inner);
    }
    absorbed.insert(gone.begin() + 1, gone.end());
  }
  return absorbed;
}

void Writer::write_nodes() {
  for (std::string& name : names_) {
    if (name.empty()) name = fresh('v');
  }
  const std::set<const Node*> absorbed = absorbed_nodes();
  for (const Node& node : graph.nodes()) {
    if (absorbed.contains(&node)) continue;
    std::vector<std::string> inputs, outputs;
    for (const ValueId value : node.inputs) inputs.push_back(name(value));
    for (std::uint32_t i = 0; i < node.output_count; ++i) outputs.push_back(name(node.output(i)));
    if (node.op->kind != OpKind::constant) {
      const OpWriter& row = *find_writer(graph, node);
      row.called_with == nullptr ? row.write(*this, node, inputs, outputs) : call(row, node, inputs, outputs);
      continue;
    }
    const ConstantPtr& constant = node.as<ConstantAttributes>().value;
    if (constant->length() >= kLiftBytes)
      model_.large.emplace_back(outputs[0], constant);
    else
      add_initializer(proto_, outputs[0], *constant);
  }
}

void Writer::call(const OpWriter& row, const Node& node, const std::vector<std::string>& inputs,
                  const std::vector<std::string>& outputs) {
  const NamedAttributes attributes = row.called_with(node);
  add_all(function_of(row, node, attributes), inputs, attributes, outputs);
  proto_.mutable_node()->rbegin()->set_domain(std::string(kRowDomain));
}

std::string Writer::function_of(const OpWriter& row, const Node& node, const NamedAttributes& attributes) {
  Graph alone;
  std::vector<ValueId> operands;
  std::vector<TensorType> types;
  for (const ValueId input : node.inputs)
    operands.push_back(alone.add_input("x" + std::to_string(operands.size()), graph.type(input)));
  for (std::uint32_t i = 0; i < node.output_count; ++i) types.push_back(graph.type(node.output(i)));
  const ValueId first = alone.add_unchecked(*node.op, node.attributes, operands, types);
  for (std::uint32_t i = 0; i < node.output_count; ++i) alone.add_output("y" + std::to_string(i), first + i);
  for (const auto& [known, name] : model_.functions) {
    if (equal(known, alone)) return name;
  }
  const std::string name = std::string(row.op) + "." + std::to_string(model_.functions.size());
  pb::Function& function = *model_.proto.add_functions();
  function.set_domain(std::string(kRowDomain));
  function.set_name(name);
  for (const auto& attribute : attributes) function.add_attribute(attribute.first);
  for (const GraphInput& input : alone.inputs()) function.add_input(input.name);
  for (const GraphOutput& output : alone.outputs()) function.add_output(output.name);
  pb::Graph body;
  Writer inner(alone, body, model_, {function.input().begin(), function.input().end()});
  row.write(inner, alone.nodes()[0], {function.input().begin(), function.input().end()},
            {function.output().begin(), function.output().end()});
  for (pb::Tensor& tensor : *body.mutable_initializer()) {  // which a function has none of
    pb::Node& constant = *function.add_node();
    constant.set_op_type("Constant");
    constant.add_output(tensor.name());
    pb::Attribute& value = *constant.add_attribute();
    value.set_name("value");
    value.set_type(pb::Attribute::TENSOR);
    *value.mutable_t() = std::move(tensor);
  }
  for (pb::Node& inside : *body.mutable_node()) *function.add_node() = std::move(inside);
  model_.functions.emplace_back(std::move(alone), name);
  return name;
}

GraphProto Writer::body(const Graph& body, const std::vector<std::string>& captured) {
  auto proto = std::make_shared<pb::Graph>();
  proto->set_name(body.name);
  std::vector<std::string> names;
  while (names.size() + captured.size() < body.inputs().size()) {
    const TensorType& type = body.type(body.inputs()[names.size()].value);
    describe(*proto->add_input(), names.emplace_back(fresh('v')), type);
  }
  for (const std::string& name : captured) want(name);
  names.insert(names.end(), captured.begin(), captured.end());
  Writer inner(body, *proto, model_, names);
  inner.write_nodes();
  // Each output is a node's, and none is another output too.
  std::set<std::string> answered;
  for (const GraphOutput& output : body.outputs()) {
    std::string name = inner.name(output.value);
    const Node* producer = body.producer(output.value);
    const bool made = producer != nullptr && producer->op->kind != OpKind::constant;
    if (!made || !answered.insert(name).second) name = inner.add("Identity", {name});
    describe(*proto->add_output(), name, body.type(output.value));
  }
  return proto;
}

std::vector<std::string> Writer::inlined(const Graph& body, const std::vector<std::string>& arguments) {
  for (const std::string& name : arguments) want(name);
  Writer inner(body, proto_, model_, arguments);
  inner.write_nodes();
  std::vector<std::string> results;
  for (const GraphOutput& output : body.outputs()) results.push_back(inner.name(output.value));
  return results;
}

}  // namespace ml::onnx
