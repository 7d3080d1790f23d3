#include "engine/passes/passes.h"

namespace ml::passes {
namespace {

Graph folded(const Graph& graph, const Evaluate& evaluate) {
  return eliminate_dead_code(eliminate_common_subexpressions(fold(graph, evaluate)));
}
Graph cleaned(const Graph& graph) { return clean_movement(clean_algebra(graph)); }

}  // namespace

Graph simplify(const Graph& graph, const Evaluate& evaluate) {
  return eliminate_common_subexpressions(cleaned(folded(graph, evaluate)));
}

// Decomposing comes before folding: constants appear in decompositions, and composites of constants fold as primitives.
Graph lower(const Graph& graph, const Target& target, const Evaluate& evaluate) {
  const Graph clean = cleaned(folded(decompose(graph, target.keep), evaluate));
  return target.runs_fused ? fuse(clean) : clean;
}

}  // namespace ml::passes
