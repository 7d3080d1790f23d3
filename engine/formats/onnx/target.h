// An IR graph that is being written: the model's, or the body of a control node that will stand in another one.
//
// A body is closed. What it uses of the graph outside is captured: it becomes an input of the body (a constant is
// repeated inside), and `captured` says which values the node has to hand in.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "engine/formats/onnx/settle.h"
#include "engine/formats/onnx/value.h"
#include "engine/passes/passes.h"

namespace ml::onnx {

class Target {
 public:
  Target(const passes::Evaluate& evaluate, Budget& budget, Target* outer = nullptr)
      : evaluate_(evaluate), budget_(budget), outer_(outer), settler_(graph, evaluate, budget) {}
  Target(const Target&) = delete;  // values point to its graph
  Target& operator=(const Target&) = delete;

  Graph graph;

  // Another graph that will stand in this one.
  Target body() { return {evaluate_, budget_, this}; }

  // The value here, settled: of this graph, or the input that captures it, if it is one of a graph further out.
  Var here(Var value);
  Value here(const Value& value);

  // Counts what was written since the last call, and `more`; throws unsupported when the model has grown too large.
  void charge(std::int64_t more);

  // Of the outer graph, in the order of the inputs that stand for them, behind the inputs that were there before.
  const std::vector<Var>& captured() const { return captured_; }

 private:
  const passes::Evaluate& evaluate_;
  Budget& budget_;
  Target* outer_;
  Settler settler_;
  std::size_t charged_ = 0;                   // nodes
  std::unordered_map<ValueId, Var> brought_;  // values of the outer graph
  std::vector<Var> captured_;
};

// What a finished body is before it is known what the other bodies of its node capture.
struct ImportedBody {
  Graph graph;  // without dead code; its inputs are the arguments, and then one for each captured value
  std::size_t arguments = 0;
  std::vector<Var> captured;  // of the outer graph; empty Vars where nothing reads the input any more
};
// `target` with the inputs that it has besides captured ones, answering `results`.
ImportedBody finish(Target& target, std::span<const Var> results);
// What the bodies of one node capture together, and one of them with an input for each of these.
std::vector<Var> captured_by(std::span<const ImportedBody* const> bodies);
// Inputs of types `ignored` stand between the arguments and the captured values; the first `unread` arguments are left
// out.
GraphPtr close(const ImportedBody& body, std::span<const Var> captured, std::span<const TensorType> ignored = {},
               std::size_t unread = 0);

}  // namespace ml::onnx
