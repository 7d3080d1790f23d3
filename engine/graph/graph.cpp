#include "engine/graph/graph.h"

#include <algorithm>

#include "engine/graph/hashing.h"
#include "ml/error.h"

namespace ml {
namespace {

const AttributesPtr& no_attributes() {
  static const AttributesPtr none = std::make_shared<const NoAttributes>();
  return none;
}

}  // namespace

ValueId Graph::add_input(std::string input_name, TensorType type, std::vector<std::string> symbols) {
  const auto id = static_cast<ValueId>(values_.size());
  if (std::ranges::all_of(symbols, &std::string::empty)) symbols.clear();
  values_.push_back({std::move(type), kNoNode, static_cast<std::uint32_t>(inputs_.size())});
  inputs_.push_back({std::move(input_name), id, std::move(symbols)});
  return id;
}

ValueId Graph::add(const Op& op, AttributesPtr attributes, std::span<const ValueId> node_inputs) {
  if (!attributes) attributes = op.make_attributes ? AttributesPtr(op.make_attributes()) : no_attributes();
  const std::vector<TensorType> input_types = types_of(*this, node_inputs);
  const std::vector<TensorType> types = infer(op, input_types, *attributes);
  return add_unchecked(op, std::move(attributes), node_inputs, types);
}

ValueId Graph::add_unchecked(const Op& op, AttributesPtr attributes, std::span<const ValueId> node_inputs,
                             std::span<const TensorType> types) {
  const auto first = static_cast<ValueId>(values_.size());
  const auto node = static_cast<std::uint32_t>(nodes_.size());
  for (std::uint32_t i = 0; i < types.size(); ++i) values_.push_back({types[i], node, i});
  if (!attributes) attributes = no_attributes();
  nodes_.push_back({&op,
                    std::move(attributes),
                    {node_inputs.begin(), node_inputs.end()},
                    first,
                    static_cast<std::uint32_t>(types.size())});
  return first;
}

ValueId Graph::add_constant(ConstantPtr constant) {
  static const Op& op = find_op("constant");
  auto attributes = std::make_shared<ConstantAttributes>();
  attributes->value = std::move(constant);
  return add(op, std::move(attributes), {});
}

void Graph::add_output(std::string output_name, ValueId value) { outputs_.push_back({std::move(output_name), value}); }

void Graph::donate(std::uint32_t input, std::uint32_t output) { donations_.push_back({input, output}); }

const Node* Graph::producer(ValueId value) const {
  const std::uint32_t node = values_[value].producer;
  return node == kNoNode ? nullptr : &nodes_[node];
}

const ConstantData* Graph::constant(ValueId value) const {
  const Node* node = producer(value);
  return node != nullptr && node->op->kind == OpKind::constant ? node->as<ConstantAttributes>().value.get() : nullptr;
}

bool Graph::bound() const {
  return std::ranges::all_of(values_, [](const Value& value) { return value.type.shape.known(); });
}

std::vector<std::uint32_t> use_counts(const Graph& graph) {
  std::vector<std::uint32_t> counts(graph.values().size(), 0);
  for (const Node& node : graph.nodes()) {
    for (const ValueId input : node.inputs) ++counts[input];
  }
  for (const GraphOutput& output : graph.outputs()) ++counts[output.value];
  return counts;
}

std::vector<TensorType> types_of(const Graph& graph, std::span<const ValueId> values) {
  std::vector<TensorType> types;
  types.reserve(values.size());
  for (const ValueId value : values) types.push_back(graph.type(value));
  return types;
}

std::vector<ValueId> inline_graph(Graph& into, const Graph& body, std::span<const ValueId> arguments) {
  if (arguments.size() != body.inputs().size()) {
    throw Error(Code::internal, "graph '" + body.name + "' takes " + std::to_string(body.inputs().size()) +
                                    " inputs, not " + std::to_string(arguments.size()));
  }
  std::vector<ValueId> mapped(body.values().size(), kNoValue);
  for (std::size_t i = 0; i < arguments.size(); ++i) mapped[body.inputs()[i].value] = arguments[i];
  std::vector<ValueId> inputs;
  std::vector<TensorType> types;
  for (const Node& node : body.nodes()) {
    inputs.clear();
    types.clear();
    for (const ValueId input : node.inputs) inputs.push_back(mapped[input]);
    for (std::uint32_t i = 0; i < node.output_count; ++i) types.push_back(body.type(node.output(i)));
    const ValueId first = into.add_unchecked(*node.op, node.attributes, inputs, types);
    for (std::uint32_t i = 0; i < node.output_count; ++i) mapped[node.output(i)] = first + i;
  }
  std::vector<ValueId> results;
  for (const GraphOutput& output : body.outputs()) results.push_back(mapped[output.value]);
  return results;
}

bool equal(const Graph& a, const Graph& b) {
  const auto same_value = [](const Value& x, const Value& y) {
    return x.type == y.type && x.producer == y.producer && x.output == y.output;
  };
  const auto same_input = [](const GraphInput& x, const GraphInput& y) {
    return x.name == y.name && x.value == y.value && x.symbols == y.symbols;
  };
  const auto same_output = [](const GraphOutput& x, const GraphOutput& y) {
    return x.name == y.name && x.value == y.value;
  };
  const auto same_donation = [](const Donation& x, const Donation& y) {
    return x.input == y.input && x.output == y.output;
  };
  const auto same_node = [](const Node& x, const Node& y) {
    return x.op == y.op && x.inputs == y.inputs && x.first_output == y.first_output &&
           x.output_count == y.output_count && equal(*x.attributes, *y.attributes);
  };
  return a.name == b.name && std::ranges::equal(a.values(), b.values(), same_value) &&
         std::ranges::equal(a.inputs(), b.inputs(), same_input) &&
         std::ranges::equal(a.outputs(), b.outputs(), same_output) &&
         std::ranges::equal(a.donations(), b.donations(), same_donation) &&
         std::ranges::equal(a.nodes(), b.nodes(), same_node);
}

std::uint64_t hash(const Graph& graph) {
  std::uint64_t state = hash_combine(graph.inputs().size(), graph.outputs().size());
  for (const GraphInput& input : graph.inputs()) {
    const TensorType& type = graph.type(input.value);
    state = hash_combine(hash_combine(state, input.value), static_cast<std::uint64_t>(type.dtype));
    for (const std::int64_t extent : type.shape.dims()) state = hash_combine(state, static_cast<std::uint64_t>(extent));
  }
  for (const Node& node : graph.nodes()) {
    state = hash_combine(state, reinterpret_cast<std::uintptr_t>(node.op));
    for (const ValueId input : node.inputs) state = hash_combine(state, input);
    state = hash_combine(state, hash(*node.attributes));
  }
  for (const GraphOutput& output : graph.outputs()) state = hash_combine(state, output.value);
  for (const Donation& donation : graph.donations())
    state = hash_combine(state, donation.input * 65537ull + donation.output);
  return state;
}

}  // namespace ml
