// Recurrent networks.
#include <cmath>

#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_recurrent.h"
#include "engine/graph/ops/movement.h"
#include "tools/mlbench/models/layers.h"
#include "tools/mlbench/models/models.h"

namespace ml::bench {
namespace {

constexpr std::int64_t kSteps = 128, kHidden = 256;

// Zeros [2, N, hidden] for the sequences [T, N, features].
Var initial_state(Var x) {
  Graph& graph = *x.graph;
  const Var extents[] = {numbers(graph, {2}), extent(x, 1), numbers(graph, {kHidden})};
  return expand_to(scalar(graph, DType::f32, 0), concat(extents, 0));
}

// [T, N, features] -> [T, N, 2 hidden]
Var bidirectional(Layers& layers, Var x) {
  const double deviation = 1 / std::sqrt(3.0 * kHidden);  // PyTorch's
  const std::int64_t rows = 2 * 4 * kHidden;
  const Var weight = layers.random({rows, x.shape()[2]}, deviation);
  const Var gates = matmul(x, weight, false, true) + layers.random({rows}, deviation);
  const Var recurrent = layers.random({2, 4 * kHidden, kHidden}, deviation), zeros = initial_state(x);
  const Var y = lstm(reshape(gates, {kSteps, kUnknown, 2, 4 * kHidden}), recurrent, zeros, zeros).y;
  return reshape(y, {kSteps, kUnknown, 2 * kHidden});
}

}  // namespace

Graph build_lstm() {
  Layers layers("lstm", 1997);
  const Var x = transpose(layers.input("input", DType::f32, {kSteps, 256}), {1, 0, 2});
  output("output", transpose(bidirectional(layers, bidirectional(layers, x)), {1, 0, 2}));
  return std::move(layers.graph);
}

}  // namespace ml::bench
