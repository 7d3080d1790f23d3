#include "tools/mlbench/models/layers.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

namespace ml::bench {

Layers::Layers(std::string_view name, std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {
  graph.name = std::string(name);
}

Var Layers::input(std::string_view name, DType dtype, const Shape& without_batch) {
  Shape shape{kUnknown};
  for (const std::int64_t extent : without_batch) shape.append(extent);
  std::vector<std::string> symbols(static_cast<std::size_t>(shape.rank()));
  symbols[0] = "batch";
  return {&graph, graph.add_input(std::string(name), {dtype, shape}, std::move(symbols))};
}

// xorshift64* (Vigna, arXiv 1402.6246): half a gigabyte of weights in a second.
double Layers::uniform() {
  state_ ^= state_ >> 12;
  state_ ^= state_ << 25;
  state_ ^= state_ >> 27;
  return static_cast<double>(static_cast<std::int64_t>(state_ * 0x2545f4914f6cdd1du)) * 0x1p-63;
}

Var Layers::random(const Shape& shape, double deviation, double mean) {
  const double reach = deviation * std::sqrt(3.0);
  const auto values = std::make_shared<std::vector<float>>(static_cast<std::size_t>(shape.elements()));
  for (float& value : *values) value = static_cast<float>(mean + reach * uniform());
  const auto constant = std::make_shared<ConstantData>();
  constant->shape = shape;
  constant->blob = std::make_shared<const Blob>(std::as_bytes(std::span(*values)), values,
                                                "weights " + std::to_string(graph.values().size()));
  return {&graph, graph.add_constant(constant)};
}

Var Layers::convolution(Var x, std::int64_t outputs, const ConvolutionLayer& layer, double gain) {
  const std::int64_t inputs = x.shape()[1] / layer.groups;
  const auto fan_in = static_cast<double>(inputs * layer.kernel * layer.kernel);
  const Var weight = random({outputs, inputs, layer.kernel, layer.kernel}, std::sqrt(gain / fan_in));
  const std::int64_t padding = layer.padding >= 0 ? layer.padding : (layer.kernel - 1) / 2;
  const Windows windows{{layer.stride, layer.stride}, {padding, padding}, {padding, padding}, {1, 1}};
  return ml::convolution(x, weight, layer.bias ? random({outputs}, 0.05) : Var{}, windows, layer.groups);
}

Var Layers::batch_norm(Var x, double scale) {
  const Shape channels{x.shape()[1]};
  const Var mean = random(channels, 0.1), variance = random(channels, 0.1, 1);
  return batch_norm_inference(x, mean, variance, random(channels, 0.1 * scale, scale), random(channels, 0.1));
}

Var Layers::linear(Var x, std::int64_t outputs, double gain) {
  const std::int64_t inputs = x.shape().at(-1);
  const Var weight = random({inputs, outputs}, std::sqrt(gain / static_cast<double>(inputs)));
  return matmul(x, weight) + random({outputs}, 0.05);
}

Var Layers::layer_norm(Var x, double epsilon) {
  const Shape width{x.shape().at(-1)};
  const Var scale = random(width, 0.1, 1);
  return ml::layer_norm(x, scale, random(width, 0.1), -1, epsilon).y;
}

Var split_heads(Var x, std::int64_t heads) {
  const std::int64_t tokens = x.shape()[1], width = x.shape()[2] / heads;
  return transpose(reshape(x, {kUnknown, tokens, heads, width}), {0, 2, 1, 3});
}

Var merge_heads(Var x) {
  const Shape& shape = x.shape();
  return reshape(transpose(x, {0, 2, 1, 3}), {kUnknown, shape[2], shape[1] * shape[3]});
}

}  // namespace ml::bench
