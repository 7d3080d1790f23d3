#include "engine/passes/passes.h"

namespace ml::passes {
namespace {

Graph folded(const Graph& graph, const Evaluate& evaluate) {
  return eliminate_dead_code(eliminate_common_subexpressions(fold(graph, evaluate)));
}
Graph cleaned(const Graph& graph) { return clean_movement(clean_algebra(graph)); }

}  // namespace

// Whatever needs no shape is done here, so that binding one is cheap: rows are found before new weights are made of
// what follows products, and both in arithmetic that has been cleaned up.
Graph simplify(const Graph& graph, const Evaluate& evaluate) {
  const Graph clean = eliminate_common_subexpressions(cleaned(folded(graph, evaluate)));
  return eliminate_common_subexpressions(fold_into_weights(find_norms(find_softmax(find_activations(clean)))));
}

// Decomposing comes before folding: constants appear in decompositions, and composites of constants fold as primitives.
Graph lower(const Graph& graph, const Target& target, const Evaluate& evaluate) {
  const Graph ended = join_epilogues(find_attention(graph, target.keep), target.keep);
  const Graph joined = join_convolutions(ended, target.keep);
  const Graph clean = cleaned(folded(decompose(joined, target.keep), evaluate));
  return target.runs_fused ? fuse(clean) : clean;
}

}  // namespace ml::passes
