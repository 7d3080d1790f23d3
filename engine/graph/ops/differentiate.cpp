#include "engine/graph/ops/differentiate.h"

#include "engine/graph/autodiff.h"

namespace ml {
namespace {

bool asked_for(std::span<const std::uint8_t> flags, std::size_t i, DType dtype) {
  return is_differentiable(dtype) && (flags.empty() || flags[i] != 0);
}

std::vector<Var> inputs_like(Graph& graph, std::span<const TensorType> types, const char* prefix) {
  std::vector<Var> inputs;
  for (const TensorType& type : types)
    inputs.push_back(input(graph, prefix + std::to_string(inputs.size()), type.dtype, type.shape));
  return inputs;
}

}  // namespace

Graph gradient_graph(const Graph& body, std::span<const std::uint8_t> seeded, std::span<const std::uint8_t> wanted) {
  Graph graph;
  graph.name = body.name + "_gradient";
  std::vector<TensorType> types;
  for (const GraphInput& in : body.inputs()) types.push_back(body.type(in.value));
  const std::vector<Var> inputs = inputs_like(graph, types, "x");
  std::vector<std::size_t> numbers;
  types.clear();
  for (std::size_t i = 0; i < body.outputs().size(); ++i) {
    const TensorType& type = body.type(body.outputs()[i].value);
    if (!asked_for(seeded, i, type.dtype)) continue;
    numbers.push_back(i);
    types.push_back(type);
  }
  const std::vector<Var> seeds = inputs_like(graph, types, "d");

  std::vector<ValueId> ids;
  ids.reserve(inputs.size());
  for (const Var& x : inputs) ids.push_back(x.id);
  const std::vector<ValueId> results = inline_graph(graph, body, ids);
  std::vector<Var> outputs, wrt;
  for (const std::size_t i : numbers) outputs.push_back({&graph, results[i]});
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (asked_for(wanted, i, inputs[i].dtype())) wrt.push_back(inputs[i]);
  }
  const std::vector<Var> all = gradients(outputs, seeds, wrt);
  for (std::size_t i = 0; i < all.size(); ++i) output("g" + std::to_string(i), all[i]);
  return graph;
}

std::vector<std::uint8_t> valid_flags(std::span<const Var> vars) {
  std::vector<std::uint8_t> flags;
  for (const Var& x : vars) flags.push_back(x ? 1 : 0);
  return flags;
}

std::vector<Var> spread_gradients(const RuleArguments& a, std::span<const Var> gradients) {
  std::vector<Var> results(a.inputs.size());
  std::size_t next = 0;
  for (std::size_t i = 0; i < a.inputs.size(); ++i) {
    if (asked_for(a.wanted, i, a.inputs[i].dtype())) results[i] = gradients[next++];
  }
  return results;
}

std::vector<Var> differentiate(Decomposition decompose, const RuleArguments& a) {
  Graph body;
  std::vector<TensorType> types;
  for (const Var& x : a.inputs) types.push_back(x.type());
  const std::vector<Var> inputs = inputs_like(body, types, "x");
  const std::vector<Var> outputs = decompose({body, inputs, {}, {}, a.attributes});
  for (std::size_t i = 0; i < outputs.size(); ++i) output("y" + std::to_string(i), outputs[i]);

  const Graph derived = gradient_graph(body, valid_flags(a.cotangents), a.wanted);
  std::vector<ValueId> arguments;
  for (const Var& x : a.inputs) arguments.push_back(x.id);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (a.cotangents[i] && is_differentiable(outputs[i].dtype())) arguments.push_back(a.cotangents[i].id);
  }
  std::vector<Var> results;
  for (const ValueId id : inline_graph(a.graph, derived, arguments)) results.push_back({&a.graph, id});
  return spread_gradients(a, results);
}

}  // namespace ml
