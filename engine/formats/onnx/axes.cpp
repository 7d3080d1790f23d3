#include "engine/formats/onnx/axes.h"

#include "engine/formats/onnx/extents.h"

namespace ml::onnx {

Axes::Axes(const NodeContext& n, Var named, int rank) : count_(1), rank_(rank) {
  if (named.rank() > 1) n.invalid("axes must be a vector, not " + named.shape().str());
  if (named.rank() == 1) count_ = named.shape()[0];
  if (count_ == 0) return;
  if (const ConstantData* const constant = n.graph.constant(named.id)) {
    for (std::int64_t i = 0; i < count_; ++i)
      values_.push_back(normalize_axis(element_as_int(*constant, i), rank, "axis"));
    return;
  }
  // Reading finds those that count from the end, and those that are none.
  computed_ = gather(iota(n.graph, DType::i64, Shape{rank}, 0), reshape(cast(named, DType::i64), Shape{count_}), 0);
}

Var Axes::vector(Graph& graph) const { return known() ? vector_of(graph, values_) : computed_; }

Var Axes::flags(Graph& graph) const {
  const Var hits = eq(unsqueeze(vector(graph), {1}), iota(graph, DType::i64, Shape{rank_}, 0));
  return gt(reduce_sum(cast(hits, DType::i64), {0}), 0.0);
}

}  // namespace ml::onnx
