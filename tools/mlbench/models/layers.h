// What the models are made of: random weights, and layers as exporters write them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/build_nn.h"

namespace ml::bench {

struct ConvolutionLayer {
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t padding = -1;  // -1: (kernel - 1) / 2
  std::int64_t groups = 1;
  bool bias = false;
};

// Builds one graph. Weights follow from `seed` and the order of calls.
class Layers {
 public:
  Layers(std::string_view name, std::uint64_t seed);
  Graph graph;

  // An input whose first extent is the batch. `symbols`: the names of the others that are unknown, "" for those that
  // are not.
  Var input(std::string_view name, DType dtype, const Shape& without_batch, std::vector<std::string> symbols = {});

  // Uniform numbers with this mean and standard deviation.
  Var random(const Shape& shape, double deviation, double mean = 0);
  // `gain`: 2 keeps the variance in front of a ReLU, 1 without one.
  Var convolution(Var x, std::int64_t outputs, const ConvolutionLayer& layer, double gain = 2);
  // Statistics and parameters near those of normalized data; the result's deviation is about `scale` times x's.
  Var batch_norm(Var x, double scale = 1);
  // x [..., k] -> [..., outputs]: a matrix product and an addition.
  Var linear(Var x, std::int64_t outputs, double gain = 1);
  Var layer_norm(Var x, double epsilon);

 private:
  double uniform();  // in [-1, 1)
  std::uint64_t state_;
};

// [N, C, H, W] -> [N, C, 1, 1]
inline Var global_average_pool(Var x) { return reduce_mean(x, {2, 3}, true); }
// [N, T, heads * width] -> [N, heads, T, width], and back. T may be unknown.
Var split_heads(Var x, std::int64_t heads);
Var merge_heads(Var x);
// An i64 vector.
Var numbers(Graph& graph, std::initializer_list<std::int64_t> values);
// The extent of x's axis, as an i64 vector of length 1.
Var extent(Var x, std::int64_t axis);

}  // namespace ml::bench
