#include "engine/graph/build.h"

#include "ml/error.h"

namespace ml {
namespace {

Graph& graph_of(std::string_view name, std::span<const Var> inputs, std::vector<ValueId>& ids) {
  for (const Var& input : inputs) {
    if (!input || input.graph != inputs.front().graph) {
      throw Error(Code::internal, std::string(name) + ": operands must be values of one graph");
    }
    ids.push_back(input.id);
  }
  if (ids.empty()) throw Error(Code::internal, std::string(name) + ": needs an operand to know its graph");
  return *inputs.front().graph;
}

}  // namespace

Var emit(std::string_view name, std::span<const Var> inputs, AttributesPtr attributes) {
  std::vector<ValueId> ids;
  Graph& graph = graph_of(name, inputs, ids);
  return {&graph, graph.add(find_op(name), std::move(attributes), ids)};
}

std::vector<Var> emit_all(std::string_view name, std::span<const Var> inputs, AttributesPtr attributes) {
  const Var first = emit(name, inputs, std::move(attributes));
  std::vector<Var> results;
  for (std::uint32_t i = 0; i < first.graph->nodes().back().output_count; ++i)
    results.push_back({first.graph, first.id + i});
  return results;
}

Var input(Graph& graph, std::string name, DType dtype, const Shape& shape) {
  return {&graph, graph.add_input(std::move(name), {dtype, shape})};
}

void output(std::string name, Var value) { value.graph->add_output(std::move(name), value.id); }

Var constant(Graph& graph, ConstantPtr value) { return {&graph, graph.add_constant(std::move(value))}; }

Var scalar(Graph& graph, DType dtype, double value) { return constant(graph, make_splat(dtype, {}, value)); }

Var full(Graph& graph, DType dtype, const Shape& shape, double value) {
  const Var one = scalar(graph, dtype, value);
  return shape.empty() ? one : broadcast_to(one, shape);
}

Var zeros_like(Var x) { return full(*x.graph, x.dtype(), x.shape(), 0); }

}  // namespace ml
