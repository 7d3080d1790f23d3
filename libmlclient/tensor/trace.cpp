#include "libmlclient/tensor/trace.h"

#include <unordered_map>

#include "libmlclient/tensor/evaluate.h"
#include "libmlclient/tensor/expression.h"

namespace ml::client {
namespace {

ConstantPtr constant_of(const TensorValuePtr& value) {
  if (value->kind == ValueKind::scalar) {
    return make_constant(value->type.dtype, value->type.shape,
                         std::span(value->scalar).first(dtype_size(value->type.dtype)));
  }
  materialize(value);
  std::vector<std::byte> bytes(static_cast<std::size_t>(value->type.shape.elements()) * dtype_size(value->type.dtype));
  Tensor(value).read(bytes);
  return make_constant(value->type.dtype, value->type.shape, bytes);
}

}  // namespace

Graph trace_to_graph(std::span<const TracedPort> inputs, std::span<const TracedPort> outputs) {
  std::vector<TensorValuePtr> results;
  for (const TracedPort& output : outputs) results.push_back(need(output.tensor, output.name));
  Expression expression;
  {
    const std::lock_guard lock(recording_mutex());
    expression = walk(results);
  }
  const Structure& structure = expression.structure;

  Graph graph;
  std::unordered_map<const TensorValue*, ValueId> input_ids;
  for (const TracedPort& input : inputs)
    input_ids.emplace(input.tensor.value().get(),
                      graph.add_input(input.name, input.tensor.value()->type, input.symbols));
  std::vector<ValueId> leaves, steps;
  for (const TensorValuePtr& leaf : expression.leaves) {
    const auto input = input_ids.find(leaf.get());
    leaves.push_back(input != input_ids.end() ? input->second : graph.add_constant(constant_of(leaf)));
  }
  const auto value_of = [&](Structure::Reference reference) {
    if ((reference & Structure::kLeaf) != 0) return leaves[reference & ~Structure::kLeaf];
    return steps[reference >> 8] + (reference & 0xff);
  };
  std::vector<ValueId> ids;
  for (const Structure::Step& step : structure.steps) {
    ids.clear();
    for (std::uint32_t i = 0; i < step.input_count; ++i)
      ids.push_back(value_of(structure.inputs[step.first_input + i]));
    steps.push_back(graph.add_unchecked(*step.op, step.attributes, ids, step.outputs));
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) graph.add_output(outputs[i].name, value_of(structure.results[i]));
  return graph;
}

}  // namespace ml::client
