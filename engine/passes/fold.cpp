#include <algorithm>

#include "engine/passes/evaluation.h"
#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"

namespace ml::passes {
namespace {

// Passes run on slow plain loops, and graphs come from strangers.
constexpr double kMostFlops = 1e8;
// Results up to this size are worth folding even when their inputs are smaller.
constexpr std::uint64_t kSmallResult = 4096;

std::uint64_t bytes_of(const TensorType& type) {
  return static_cast<std::uint64_t>(type.shape.elements()) * dtype_size(type.dtype);
}

// A reshape of a constant, however large, is the same bytes seen otherwise; null when the node is something else.
ConstantPtr reshaped(const Graph& graph, const Node& node, std::span<const ConstantPtr> constants) {
  const Shape& shape = graph.type(node.output(0)).shape;
  if (node.op->name != "reshape" || !constants[0] || !shape.known()) return nullptr;
  auto result = std::make_shared<ConstantData>(*constants[0]);
  result->shape = shape;
  return result;
}

}  // namespace

std::vector<ConstantPtr> constant_inputs(const Graph& graph, std::span<const ValueId> inputs) {
  std::vector<ConstantPtr> constants;
  constants.reserve(inputs.size());
  for (const ValueId input : inputs) {
    const Node* producer = graph.producer(input);
    const bool constant = producer != nullptr && producer->op->kind == OpKind::constant;
    constants.push_back(constant ? producer->as<ConstantAttributes>().value : nullptr);
  }
  return constants;
}

std::vector<ConstantPtr> evaluate_constant(const Graph& graph, const Node& node, std::span<const ConstantPtr> constants,
                                           const Evaluate& evaluate, std::uint64_t limit) {
  if (!evaluate || node.op->kind == OpKind::constant || node.op->kind == OpKind::control ||
      node.op->kind == OpKind::dynamic) {
    return {};
  }
  std::uint64_t read = 0, written = 0;
  for (const ConstantPtr& constant : constants) {
    if (!constant) return {};
    read += constant->length();
  }
  for (std::uint32_t i = 0; i < node.output_count; ++i) {
    const TensorType& type = graph.type(node.output(i));
    if (!type.shape.known()) return {};
    written += bytes_of(type);
  }
  if (written > limit || written > std::max(read, kSmallResult)) return {};
  if (ConstantPtr moved = moved_constant(graph, node, constants)) return {std::move(moved)};
  if (read > 16 * limit + kSmallResult) return {};
  std::vector<TensorType> outputs;
  for (std::uint32_t i = 0; i < node.output_count; ++i) outputs.push_back(graph.type(node.output(i)));
  if (cost(*node.op, types_of(graph, node.inputs), outputs, *node.attributes).flops > kMostFlops) return {};
  return evaluate(graph, node, constants);
}

Graph fold(const Graph& graph, const Evaluate& evaluate, std::uint64_t limit) {
  Rewriter rewriter(graph);
  rewriter.copy_inputs();
  for (const Node& node : graph.nodes()) {
    const std::vector<ConstantPtr> constants = constant_inputs(rewriter.graph(), rewriter.mapped_inputs(node));
    std::vector<ConstantPtr> results;
    if (ConstantPtr same = reshaped(graph, node, constants))
      results.push_back(std::move(same));
    else
      results = evaluate_constant(graph, node, constants, evaluate, limit);
    if (results.empty()) {
      rewriter.copy(node);
      continue;
    }
    for (std::uint32_t i = 0; i < node.output_count; ++i)
      rewriter.map(node.output(i), rewriter.graph().add_constant(results[i]));
  }
  return eliminate_dead_code(rewriter.finish());
}

}  // namespace ml::passes
