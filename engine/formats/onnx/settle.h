// Knowing at import what can be known: nodes made of constants are computed, rows of kind `dynamic` become static ones,
// and what uses them is inferred again, so that importers see constants and extents wherever the model tells them.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "engine/graph/build.h"
#include "engine/passes/passes.h"

namespace ml::onnx {

// What one import may spend on top of what the file holds, so that a small file can't ask for much.
struct Budget {
  std::int64_t nodes = 1 << 20;                  // of the model and of graphs, every turn and every call counted
  std::int64_t folded = std::int64_t{64} << 20;  // bytes of constants that are computed

  // Throws unsupported when there are too many.
  void charge(std::int64_t more);
};

// Works on the nodes of `graph` that are appended after it was made. What was replaced stays behind as dead code.
class Settler {
 public:
  Settler(Graph& graph, const passes::Evaluate& evaluate, Budget& budget)
      : graph_(graph), evaluate_(evaluate), budget_(budget), next_(graph.nodes().size()) {}

  // `var` as the simplest value that the nodes appended so far make of it.
  Var settled(Var var);

 private:
  void settle(std::size_t first, std::size_t last);
  Var current(Var var) const;
  ConstantPtr constant_of(Var var);
  bool small(const Node& node) const;
  std::vector<Var> compute(const Node& node);

  Graph& graph_;
  const passes::Evaluate& evaluate_;
  Budget& budget_;
  std::size_t next_;  // the first node that was not looked at
  std::unordered_map<ValueId, ValueId> replaced_;
};

}  // namespace ml::onnx
