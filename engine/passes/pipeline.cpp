#include "engine/passes/passes.h"

namespace ml::passes {

Graph simplify(const Graph& graph, const Evaluate& evaluate) {
  return eliminate_dead_code(eliminate_common_subexpressions(fold(graph, evaluate)));
}

// Decomposing comes before folding: constants appear in decompositions, and composites of constants fold as primitives.
Graph lower(const Graph& graph, const Target& target, const Evaluate& evaluate) {
  const Graph lowered = decompose(graph, target.keep);
  Graph clean = eliminate_dead_code(eliminate_common_subexpressions(fold(lowered, evaluate)));
  return target.runs_fused ? fuse(clean) : clean;
}

}  // namespace ml::passes
