// Convolutions behind each other: where the image between two is read by the second alone they become one node, if the
// device takes it, which never needs all of that image at once.
#include <memory>
#include <string>

#include "engine/graph/ops/fused_contraction.h"
#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"

namespace ml::passes {
namespace {

bool is_convolution(const Node& node) {
  if (node.op->name != "fused_contraction") return node.op->name == "convolution";
  return contraction_of(*node.as<BodyAttributes>().body)->op->name == "convolution";
}

class Joiner {
 public:
  Joiner(const Graph& graph, const KeepRule& keep)
      : graph_(graph), keep_(keep), rewriter_(graph), waits_(graph.nodes().size(), false) {}

  Graph run() {
    find_firsts();
    rewriter_.copy_inputs();
    for (std::uint32_t index = 0; index < graph_.nodes().size(); ++index) {
      const Node& node = graph_.nodes()[index];
      // What waits is read by the next convolution alone.
      const std::uint32_t first = is_convolution(node) ? graph_.values()[node.inputs[0]].producer : kNoNode;
      if (first != kNoNode && waits_[first]) {
        if (join(graph_.nodes()[first], node)) {
          waits_[index] = false;
          continue;
        }
        rewriter_.copy(graph_.nodes()[first]);
      }
      if (!waits_[index]) rewriter_.copy(node);
    }
    return eliminate_dead_code(rewriter_.finish());
  }

 private:
  void find_firsts() {
    const std::vector<std::uint32_t> uses = use_counts(graph_);
    for (const Node& node : graph_.nodes()) {
      if (!is_convolution(node)) continue;
      const std::uint32_t first = graph_.values()[node.inputs[0]].producer;
      if (first != kNoNode && uses[node.inputs[0]] == 1 && is_convolution(graph_.nodes()[first])) waits_[first] = true;
    }
  }

  // Both as one node of the new graph; false when the device doesn't take it.
  bool join(const Node& first, const Node& second) {
    static const Op& op = find_op("fused_convolutions");
    auto body = std::make_shared<Graph>();
    body->name = "convolutions";
    std::vector<ValueId> inputs;  // of the new graph
    const auto append = [&](const Node& node, ValueId image) {
      std::vector<ValueId> operands;
      if (image != kNoValue) operands.push_back(image);
      for (std::size_t i = operands.size(); i < node.inputs.size(); ++i) {
        inputs.push_back(rewriter_.mapped(node.inputs[i]));
        operands.push_back(body->add_input("x" + std::to_string(body->inputs().size()), graph_.type(node.inputs[i])));
      }
      return body->add_unchecked(*node.op, node.attributes, operands, {&graph_.type(node.first_output), 1});
    };
    const ValueId between = append(first, kNoValue);
    body->add_output("y", append(second, between));
    auto attributes = std::make_shared<BodyAttributes>();
    attributes->body = std::move(body);
    const TensorType& type = graph_.type(second.first_output);
    const ValueId value = rewriter_.graph().add_unchecked(op, std::move(attributes), inputs, {&type, 1});
    if (!keep_(rewriter_.graph(), rewriter_.graph().nodes().back())) return false;
    rewriter_.map(second.first_output, value);
    return true;
  }

  const Graph& graph_;
  const KeepRule& keep_;
  Rewriter rewriter_;
  std::vector<bool> waits_;  // per node: its result is the image of one convolution and read by nothing else
};

}  // namespace

Graph join_convolutions(const Graph& graph, const KeepRule& keep) { return Joiner(graph, keep).run(); }

}  // namespace ml::passes
