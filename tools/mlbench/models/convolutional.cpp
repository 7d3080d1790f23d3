// Image classifiers.
#include <algorithm>
#include <vector>

#include "tools/mlbench/models/layers.h"
#include "tools/mlbench/models/models.h"

namespace ml::bench {
namespace {

constexpr std::int64_t kClasses = 1000;

Var classify(Layers& layers, Var x, std::int64_t classes = kClasses) {
  const Var pooled = reshape(global_average_pool(x), {kUnknown, x.shape()[1]});
  return layers.linear(pooled, classes);
}

// --- ResNet-50 (He et al., arXiv 1512.03385), the stride in the 3x3 as in torchvision
// ---------------------------------

Var bottleneck(Layers& layers, Var x, std::int64_t width, std::int64_t stride) {
  Var y = relu(layers.batch_norm(layers.convolution(x, width, {})));
  y = relu(layers.batch_norm(layers.convolution(y, width, {.kernel = 3, .stride = stride})));
  y = layers.batch_norm(layers.convolution(y, 4 * width, {}), 0.3);  // branches add little, as in a trained network
  if (stride != 1 || x.shape()[1] != 4 * width)
    x = layers.batch_norm(layers.convolution(x, 4 * width, {.stride = stride}, 1));
  return relu(y + x);
}

// --- MobileNetV2 (Sandler et al., arXiv 1801.04381) -----------------------------------------------------------------

Var relu6(Var x) { return clamp(x, 0, 6); }

Var inverted_residual(Layers& layers, Var x, std::int64_t expansion, std::int64_t outputs, std::int64_t stride) {
  const std::int64_t inputs = x.shape()[1], width = inputs * expansion;
  Var y = x;
  if (expansion != 1) y = relu6(layers.batch_norm(layers.convolution(y, width, {})));
  y = relu6(layers.batch_norm(layers.convolution(y, width, {.kernel = 3, .stride = stride, .groups = width})));
  const bool residual = stride == 1 && inputs == outputs;
  y = layers.batch_norm(layers.convolution(y, outputs, {}, 1), residual ? 0.3 : 1);
  return residual ? x + y : y;
}

// --- EfficientNet-B0 (Tan and Le, arXiv 1905.11946)
// -------------------------------------------------------------------

// SiLU as exporters write it: they have no node for it.
Var silu_nodes(Var x) { return x * sigmoid(x); }
constexpr double kSiluGain = 2.8;  // E[silu(x)^2] is 0.36 for normal x

Var squeeze_and_excite(Layers& layers, Var x, std::int64_t width) {
  Var gate = silu_nodes(layers.convolution(global_average_pool(x), width, {.bias = true}));
  gate = sigmoid(layers.convolution(gate, x.shape()[1], {.bias = true}, kSiluGain));
  return x * gate;
}

Var mb_convolution(Layers& layers, Var x, std::int64_t expansion, std::int64_t outputs, std::int64_t kernel,
                   std::int64_t stride) {
  const std::int64_t inputs = x.shape()[1], width = inputs * expansion;
  Var y = x;
  if (expansion != 1) y = silu_nodes(layers.batch_norm(layers.convolution(y, width, {}, 1)));
  y = layers.convolution(y, width, {.kernel = kernel, .stride = stride, .groups = width}, kSiluGain);
  y = squeeze_and_excite(layers, silu_nodes(layers.batch_norm(y)), inputs / 4);
  const bool residual = stride == 1 && inputs == outputs;
  y = layers.batch_norm(layers.convolution(y, outputs, {}, 4 * kSiluGain), residual ? 0.3 : 1);  // gates halve
  return residual ? y + x : y;
}

}  // namespace

Graph build_resnet50() {
  Layers layers("resnet50", 50);
  Var x = layers.input("input", DType::f32, {3, 224, 224});
  x = relu(layers.batch_norm(layers.convolution(x, 64, {.kernel = 7, .stride = 2})));
  x = max_pool(x, {3, 3}, {{2, 2}, {1, 1}, {1, 1}, {1, 1}});
  constexpr struct { std::int64_t width, blocks; } kStages[] = {{64, 3}, {128, 4}, {256, 6}, {512, 3}};
  for (const auto& [width, blocks] : kStages) {
    for (std::int64_t i = 0; i < blocks; ++i) x = bottleneck(layers, x, width, i == 0 && width != 64 ? 2 : 1);
  }
  output("logits", classify(layers, x));
  return std::move(layers.graph);
}

Graph build_mobilenet_v2() {
  Layers layers("mobilenet_v2", 2);
  Var x = layers.input("input", DType::f32, {3, 224, 224});
  x = relu6(layers.batch_norm(layers.convolution(x, 32, {.kernel = 3, .stride = 2})));
  constexpr struct {
    std::int64_t expansion, outputs, blocks, stride;
  } kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                 {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  for (const auto& [expansion, outputs, blocks, stride] : kStages) {
    for (std::int64_t i = 0; i < blocks; ++i) x = inverted_residual(layers, x, expansion, outputs, i == 0 ? stride : 1);
  }
  x = relu6(layers.batch_norm(layers.convolution(x, 1280, {})));
  output("logits", classify(layers, x));
  return std::move(layers.graph);
}

Graph build_efficientnet_b0() {
  Layers layers("efficientnet_b0", 1905);
  Var x = layers.input("input", DType::f32, {3, 224, 224});
  x = silu_nodes(layers.batch_norm(layers.convolution(x, 32, {.kernel = 3, .stride = 2}, 1)));
  constexpr struct {
    std::int64_t expansion, outputs, blocks, kernel, stride;
  } kStages[] = {{1, 16, 1, 3, 1},  {6, 24, 2, 3, 2},  {6, 40, 2, 5, 2}, {6, 80, 3, 3, 2},
                 {6, 112, 3, 5, 1}, {6, 192, 4, 5, 2}, {6, 320, 1, 3, 1}};
  for (const auto& [expansion, outputs, blocks, kernel, stride] : kStages) {
    for (std::int64_t i = 0; i < blocks; ++i)
      x = mb_convolution(layers, x, expansion, outputs, kernel, i == 0 ? stride : 1);
  }
  x = silu_nodes(layers.batch_norm(layers.convolution(x, 1280, {}, 1)));
  output("logits", classify(layers, x));
  return std::move(layers.graph);
}

// All that the others have, small enough for a test.
Graph build_tiny() {
  Layers layers("tiny", 3);
  Var x = layers.input("input", DType::f32, {3, 32, 32});
  x = relu(layers.batch_norm(layers.convolution(x, 16, {.kernel = 3, .stride = 2})));
  x = inverted_residual(layers, x, 2, 16, 1);
  x = mb_convolution(layers, x, 2, 24, 3, 2);
  output("logits", classify(layers, x, 10));
  return std::move(layers.graph);
}

}  // namespace ml::bench
