#include "engine/passes/passes.h"

namespace ml::passes {

Graph simplify(const Graph& graph, const Evaluate& evaluate) {
  return eliminate_dead_code(eliminate_common_subexpressions(fold(graph, evaluate)));
}

// Decomposing comes before folding: constants appear in decompositions, and composites of constants fold as primitives.
Graph lower(const Graph& graph, const Target& target, const Evaluate& evaluate) {
  Graph lowered = decompose(graph, target.keep);
  return eliminate_dead_code(eliminate_common_subexpressions(fold(lowered, evaluate)));
}

}  // namespace ml::passes
