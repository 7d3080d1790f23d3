// A pass that looks at one node at a time: it walks a graph, and each node becomes what a rule makes of it.
#pragma once

#include <utility>
#include <vector>

#include "engine/graph/build.h"
#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"

namespace ml::passes {

// A node of the graph that is walked, on its inputs in the new one. Those have been through the rule already, so a rule
// that matches them matches what rules have made.
struct Visit {
  const Graph& from;
  const Node& node;
  std::span<const Var> inputs;
  std::span<const std::uint32_t> uses;  // per value of `from`
  Rewriter& rewriter;

  bool is(std::string_view op) const { return node.op->name == op; }
  template <class T>
  const T& as() const {
    return node.as<T>();
  }
  Graph& graph() const { return rewriter.graph(); }
  // A value of `from` in the new graph.
  Var now(ValueId value) const { return {&graph(), rewriter.mapped(value)}; }
  // Whether nothing but this node reads its input i, so that what makes that goes away when this node doesn't need it.
  bool alone_reads(std::size_t i) const { return uses[node.inputs[i]] == 1; }
};

// rule(visit) answers a value for each output of the node (invalid where nobody reads it), or none to leave the node as
// it is. What doesn't have exactly the old types (an extent became known) isn't taken.
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
    std::vector<Var> results;
    if (!inputs.empty()) results = rule(Visit{graph, node, inputs, uses, rewriter});
    bool fits = !results.empty();
    left_behind = left_behind || fits;
    for (std::uint32_t i = 0; fits && i < node.output_count; ++i) {
      const ValueId old_value = node.output(i);
      fits = results[i] ? results[i].type() == graph.type(old_value) : uses[old_value] == 0;
    }
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
