// Axes that an input names: constants, or computed when the model runs.
#pragma once

#include "engine/formats/onnx/node.h"

namespace ml::onnx {

class Axes {
 public:
  // Of a tensor of this rank; `named` is an integer vector.
  Axes(const NodeContext& n, Var named, int rank);

  bool known() const { return !computed_; }
  const Ints& values() const { return values_; }  // known ones, in [0, rank)
  std::int64_t count() const { return count_; }   // how many there are, or kUnknown
  Var vector(Graph& graph) const;                 // i64, in [0, rank)
  Var flags(Graph& graph) const;                  // bool[rank]: which dimensions are meant

 private:
  Ints values_;
  Var computed_;
  std::int64_t count_;
  int rank_;
};

}  // namespace ml::onnx
