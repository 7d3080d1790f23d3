#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"

namespace ml::passes {

Graph eliminate_dead_code(const Graph& graph) {
  std::vector<bool> live(graph.values().size(), false);
  for (const GraphOutput& output : graph.outputs()) live[output.value] = true;
  const auto is_live = [&live](const Node& node) {
    for (std::uint32_t i = 0; i < node.output_count; ++i) {
      if (live[node.output(i)]) return true;
    }
    return false;
  };
  const std::span<const Node> nodes = graph.nodes();
  for (std::size_t i = nodes.size(); i-- > 0;) {
    if (!is_live(nodes[i])) continue;
    for (const ValueId input : nodes[i].inputs) live[input] = true;
  }
  Rewriter rewriter(graph);
  rewriter.copy_inputs();
  for (const Node& node : nodes) {
    if (is_live(node)) rewriter.copy(node);
  }
  return rewriter.finish();
}

}  // namespace ml::passes
