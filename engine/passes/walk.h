// A pass that looks at one node at a time: it walks a graph, and each node becomes what a rule makes of it.
#pragma once

#include <utility>
#include <vector>

#include "engine/graph/build.h"
#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"

namespace ml::passes {

// A node of the graph that is walked, on its inputs in the new one. Those have been through the rule already, so a rule
// matches what rules have made.
struct Visit {
  const Node& node;
  std::span<const Var> inputs;
  std::span<const std::uint32_t> uses;  // per value of the old graph

  bool is(std::string_view op) const { return node.op->name == op; }
  template <class T>
  const T& as() const {
    return node.as<T>();
  }
  Graph& graph() const { return *inputs[0].graph; }
  // Whether nothing but this node reads its input i, so that what makes that goes away when this node doesn't need it.
  bool alone_reads(std::size_t i) const { return uses[node.inputs[i]] == 1; }
};

// rule(visit) answers a value for each output of the node, or none to leave the node as it is. What doesn't have
// exactly the old types (an extent became known) isn't taken.
template <class Rule>
Graph walk(const Graph& graph, Rule rule) {
  Rewriter rewriter(graph);
  rewriter.copy_inputs();
  const std::vector<std::uint32_t> uses = use_counts(graph);
  std::vector<Var> inputs;
  bool left_behind = false;
  for (const Node& node : graph.nodes()) {
    inputs.clear();
    for (const ValueId input : node.inputs) inputs.push_back({&rewriter.graph(), rewriter.mapped(input)});
    const std::vector<Var> results =
        inputs.empty() ? std::vector<Var>{} : static_cast<std::vector<Var>>(rule(Visit{node, inputs, uses}));
    bool fits = !results.empty();
    left_behind = left_behind || fits;
    for (std::uint32_t i = 0; fits && i < node.output_count; ++i)
      fits = results[i].type() == graph.type(node.output(i));
    if (!fits) {
      rewriter.copy(node);
      continue;
    }
    for (std::uint32_t i = 0; i < node.output_count; ++i) rewriter.map(node.output(i), results[i].id);
  }
  Graph result = rewriter.finish();
  return left_behind ? eliminate_dead_code(result) : result;
}

}  // namespace ml::passes
