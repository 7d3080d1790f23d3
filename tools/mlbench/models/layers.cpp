#include "tools/mlbench/models/layers.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "engine/graph/build_dynamic.h"
#include "engine/graph/ops/movement.h"

namespace ml::bench {

Layers::Layers(std::string_view name, std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {
  graph.name = std::string(name);
}

Var Layers::input(std::string_view name, DType dtype, const Shape& without_batch, std::vector<std::string> symbols) {
  Shape shape{kUnknown};
  for (const std::int64_t extent : without_batch) shape.append(extent);
  symbols.resize(static_cast<std::size_t>(without_batch.rank()));
  symbols.insert(symbols.begin(), "batch");
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

namespace {

// The first two extents stay what they are.
Var reshape_behind(Var x, std::initializer_list<std::int64_t> last) {
  auto attributes = std::make_shared<ReshapeAttributes>();
  attributes->dims = {reshape_keeps(0), reshape_keeps(1)};
  attributes->dims.insert(attributes->dims.end(), last);
  return {x.graph, x.graph->add(find_op("reshape"), std::move(attributes), {&x.id, 1})};
}

}  // namespace

Var split_heads(Var x, std::int64_t heads) {
  return transpose(reshape_behind(x, {heads, x.shape()[2] / heads}), {0, 2, 1, 3});
}

Var merge_heads(Var x) { return reshape_behind(transpose(x, {0, 2, 1, 3}), {x.shape()[1] * x.shape()[3]}); }

Var numbers(Graph& graph, std::initializer_list<std::int64_t> values) {
  const Shape shape{static_cast<std::int64_t>(values.size())};
  return constant(graph, make_constant(DType::i64, shape, std::as_bytes(std::span(values.begin(), values.size()))));
}

Var extent(Var x, std::int64_t axis) { return slice(shape_of(x), {axis}, {axis + 1}); }

}  // namespace ml::bench
