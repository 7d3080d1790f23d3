#include "engine/formats/onnx/scope.h"

#include <algorithm>

#include "engine/formats/onnx/order.h"
#include "engine/formats/onnx/register.h"
#include "engine/formats/onnx/tensor.h"
#include "engine/formats/onnx/value_operators.h"
#include "ml/error.h"

namespace ml::onnx {
namespace {

constexpr std::int64_t kFewNodes = 1 << 16;  // that a file of any size may ask for

}  // namespace

Versions versions_of(const google::protobuf::RepeatedPtrField<pb::OperatorSet>& sets) {
  Versions versions;
  for (const pb::OperatorSet& set : sets) {
    const bool own = set.domain() == "ai.onnx";
    versions[own ? "" : set.domain()] = static_cast<int>(std::clamp<std::int64_t>(set.version(), 0, 1 << 20));
  }
  return versions;
}

std::string_view domain_of(const pb::Node& node) {
  return node.domain() == "ai.onnx" ? std::string_view() : std::string_view(node.domain());
}

Session::Session(const pb::Model& from, Files its_files) : model(from), files(std::move(its_files)) {
  budget.nodes = std::min(budget.nodes, kFewNodes + static_cast<std::int64_t>(files.size() / 2));
  for (const pb::Function& function : model.functions()) {
    const std::string_view domain = function.domain() == "ai.onnx" ? std::string_view() : function.domain();
    if (!functions_.try_emplace({domain, function.name(), function.overload()}, &function).second)
      throw Error(Code::corrupt, "the function " + describe(function) + " is defined twice");
  }
}

const pb::Function* Session::function(const pb::Node& node) const {
  const auto found = functions_.find({domain_of(node), node.op_type(), node.overload()});
  return found == functions_.end() ? nullptr : found->second;
}

void Scope::define(const std::string& name, Value value, const std::string& what) {
  if (name.empty()) throw Error(Code::corrupt, "an " + what + " has no name");
  const auto [found, added] = names_.try_emplace(name, Definition{std::move(value), what});
  if (added) return;
  throw Error(Code::corrupt, "the name '" + name + "' is defined twice: by " + found->second.what + " and by " + what,
              {}, "every value of a graph has a name of its own");
}

const Scope::Definition* Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->outer_) {
    const auto found = scope->names_.find(name);
    if (found != scope->names_.end()) return &found->second;
  }
  return nullptr;
}

Value Scope::value(const std::string& name, const std::string& user) {
  const Definition* definition = find(name);
  if (definition == nullptr) throw Error(Code::corrupt, "'" + name + "' is used but never defined", user);
  return target_.here(definition->value);
}

void Scope::import_initializers(const pb::Graph& graph) {
  for (const pb::Tensor& tensor : graph.initializer())
    define(tensor.name(), constant(target_.graph, read_tensor(tensor, session_.files, "")), "initializer");
  for (const pb::SparseTensor& sparse : graph.sparse_initializer()) {
    ConstantPtr dense = read_sparse(sparse, session_.files, session_.sparse_room, "");
    define(sparse.values().name(), constant(target_.graph, std::move(dense)), "sparse initializer");
  }
}

void Scope::import_nodes(const google::protobuf::RepeatedPtrField<pb::Node>& nodes) {
  for (const int index : order_of(nodes)) import_node(nodes[index], describe(nodes[index], index));
}

std::vector<Value> Scope::import_subgraph(const pb::Graph& graph, std::span<const Value> arguments, Target& target) {
  if (arguments.size() != static_cast<std::size_t>(graph.input_size())) {
    throw Error(Code::invalid_argument, "its subgraph '" + graph.name() + "' takes " +
                                            std::to_string(graph.input_size()) + " inputs, not " +
                                            std::to_string(arguments.size()));
  }
  target_.charge(1 + graph.initializer_size() + graph.sparse_initializer_size());
  Scope inner(session_, target, versions_, this, bindings_);
  for (int i = 0; i < graph.input_size(); ++i) {
    inner.define(graph.input(i).name(), target.here(arguments[static_cast<std::size_t>(i)]),
                 "input " + std::to_string(i));
  }
  inner.import_initializers(graph);
  inner.import_nodes(graph.node());
  std::vector<Value> results;
  for (const pb::ValueInfo& output : graph.output()) results.push_back(inner.value(output.name(), "output"));
  return results;
}

Scope::Bound Scope::resolve(const pb::Attribute& attribute) {
  if (attribute.ref_attr_name().empty()) return {&attribute, this};
  if (bindings_ == nullptr) {
    throw Error(Code::corrupt, "attribute '" + attribute.name() + "' refers to the attribute '" +
                                   attribute.ref_attr_name() + "' of a function, but stands in none");
  }
  const auto found = bindings_->find(attribute.ref_attr_name());
  return found == bindings_->end() ? Bound{nullptr, nullptr} : found->second;
}

void Scope::import_node(const pb::Node& node, const std::string& where) {
  target_.charge(1);
  std::vector<Value> inputs, results;
  for (const std::string& name : node.input()) inputs.push_back(name.empty() ? Value{} : value(name, where));
  try {
    results = results_of(node, inputs);
    for (Value& result : results) result = target_.here(result);
  } catch (const Error& error) {
    throw error.within(where);
  }
  for (int i = 0; i < node.output_size(); ++i) {
    if (node.output(i).empty()) continue;
    if (static_cast<std::size_t>(i) >= results.size() ||
        results[static_cast<std::size_t>(i)].kind == Value::Kind::missing) {
      throw Error(Code::unsupported, "output " + std::to_string(i) + " is not supported", where);
    }
    define(node.output(i), std::move(results[static_cast<std::size_t>(i)]), where);
  }
}

std::vector<Value> Scope::results_of(const pb::Node& node, std::span<const Value> inputs) {
  const auto declared = versions_.find(domain_of(node));
  const int version = declared == versions_.end() ? 0 : declared->second;
  const NodeContext context(node, target_, *this, version, inputs);
  const bool tensors = std::ranges::all_of(inputs, [](const Value& input) {
    return input.kind == Value::Kind::tensor || input.kind == Value::Kind::missing;
  });
  const Operator* row = find_operator(domain_of(node), node.op_type(), version);
  const ValueOperator* other = find_value_operator(domain_of(node), node.op_type(), version);
  if (other != nullptr && (row == nullptr || !tensors)) return other->import(context);
  if (row != nullptr) {
    const std::vector<Var> results = row->import(context);
    return {results.begin(), results.end()};
  }
  if (const ImportOperator* own = find_registered(domain_of(node), node.op_type(), version)) {
    const std::vector<Var> results = (*own)(context);
    return {results.begin(), results.end()};
  }
  const pb::Function* function = session_.function(node);
  if (function == nullptr) throw Error(Code::internal, "an operator that was there is gone");
  return call(*function, node, inputs);
}

std::vector<Value> Scope::call(const pb::Function& function, const pb::Node& node, std::span<const Value> inputs) {
  if (inputs.size() > static_cast<std::size_t>(function.input_size())) {
    throw Error(Code::invalid_argument, "the function takes " + std::to_string(function.input_size()) +
                                            " inputs, not " + std::to_string(inputs.size()));
  }
  Bindings bindings;
  for (const pb::Attribute& attribute : function.attribute_proto()) bindings[attribute.name()] = {&attribute, this};
  for (const pb::Attribute& attribute : node.attribute()) {
    const Bound bound = resolve(attribute);
    if (bound.attribute != nullptr) bindings[attribute.name()] = bound;
  }
  for (const std::string& name : function.attribute()) {
    if (bindings.count(name) == 0) throw Error(Code::invalid_argument, "attribute '" + name + "' is missing");
  }
  const Versions versions = versions_of(function.opset_import());
  Scope inner(session_, target_, versions, nullptr, &bindings);
  for (int i = 0; i < function.input_size(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    inner.define(function.input(i), at < inputs.size() ? inputs[at] : Value{}, "input " + std::to_string(i));
  }
  inner.import_nodes(function.node());
  std::vector<Value> results;
  for (const std::string& name : function.output()) results.push_back(inner.value(name, "output"));
  return results;
}

}  // namespace ml::onnx
