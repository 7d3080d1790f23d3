#include <algorithm>
#include <unordered_map>

#include "engine/graph/hashing.h"
#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"

namespace ml::passes {
namespace {

std::uint64_t hash_of(const Node& node, std::span<const ValueId> inputs) {
  std::uint64_t state = hash_combine(reinterpret_cast<std::uintptr_t>(node.op), hash(*node.attributes));
  for (const ValueId input : inputs) state = hash_combine(state, input);
  return state;
}

bool same(const Node& a, const Node& b, std::span<const ValueId> b_inputs) {
  return a.op == b.op && std::ranges::equal(a.inputs, b_inputs) && equal(*a.attributes, *b.attributes);
}

}  // namespace

// Every op is a pure function of its inputs and attributes, random ones too, so equal nodes have equal values.
Graph eliminate_common_subexpressions(const Graph& graph) {
  Rewriter rewriter(graph);
  rewriter.copy_inputs();
  std::unordered_multimap<std::uint64_t, std::uint32_t> seen;  // hash to node of the new graph
  for (const Node& node : graph.nodes()) {
    const std::vector<ValueId> inputs = rewriter.mapped_inputs(node);
    const std::uint64_t key = hash_of(node, inputs);
    const Node* twin = nullptr;
    for (auto [at, end] = seen.equal_range(key); at != end && twin == nullptr; ++at) {
      const Node& candidate = rewriter.graph().nodes()[at->second];
      if (same(candidate, node, inputs)) twin = &candidate;
    }
    if (twin != nullptr) {
      rewriter.map_outputs(node, twin->first_output);
      continue;
    }
    seen.emplace(key, static_cast<std::uint32_t>(rewriter.graph().nodes().size()));
    rewriter.copy(node);
  }
  return rewriter.finish();
}

}  // namespace ml::passes
