// Bodies of control flow while they are built: what one uses of the outside becomes an input when it is asked for.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/graph/build.h"

namespace ml::onnx {

class Body {
 public:
  // The next carried value or slice; all of them come before anything of the outside.
  Var argument(const TensorType& type) { return input(*graph_, next_name(), type.dtype, type.shape); }
  // A value of the graph that the body will stand in.
  Var outside(Var x) {
    if (const Node* node = x.graph->producer(x.id); node != nullptr && node->op->kind == OpKind::constant)
      return constant(*graph_, node->as<ConstantAttributes>().value);
    captured_.push_back(x);
    return argument(x.type());
  }
  std::span<const Var> captured() const { return captured_; }
  GraphPtr answering(std::initializer_list<Var> results) {
    for (const Var& result : results) output("y" + std::to_string(graph_->outputs().size()), result);
    return graph_;
  }

 private:
  std::string next_name() const { return "x" + std::to_string(graph_->inputs().size()); }

  std::shared_ptr<Graph> graph_ = std::make_shared<Graph>();
  std::vector<Var> captured_;
};

}  // namespace ml::onnx
