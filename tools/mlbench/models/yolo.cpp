// YOLOv5s 6.0 (github.com/ultralytics/yolov5, models/yolov5s.yaml) for 80 classes, up to the three heads' boxes;
// without decoding them and without non-maximum suppression.
#include <string>

#include "tools/mlbench/models/layers.h"
#include "tools/mlbench/models/models.h"

namespace ml::bench {
namespace {

constexpr double kGain = 1.9;  // SiLU

// "Conv" there: convolution, batch norm, SiLU (a sigmoid and a product).
Var conv(Layers& layers, Var x, std::int64_t outputs, const ConvolutionLayer& layer) {
  const Var y = layers.batch_norm(layers.convolution(x, outputs, layer, kGain));
  return y * sigmoid(y);
}

Var c3(Layers& layers, Var x, std::int64_t outputs, int bottlenecks, bool shortcut) {
  const std::int64_t width = outputs / 2;
  Var a = conv(layers, x, width, {});
  for (int i = 0; i < bottlenecks; ++i) {
    const Var y = conv(layers, conv(layers, a, width, {}), width, {.kernel = 3});
    a = shortcut ? a + y : y;
  }
  const Var parts[] = {a, conv(layers, x, width, {})};
  return conv(layers, concat(parts, 1), outputs, {});
}

Var pool_pyramid(Layers& layers, Var x, std::int64_t outputs) {
  const Windows same{{1, 1}, {2, 2}, {2, 2}, {1, 1}};
  const Var a = conv(layers, x, x.shape()[1] / 2, {});
  const Var b = max_pool(a, {5, 5}, same), c = max_pool(b, {5, 5}, same), d = max_pool(c, {5, 5}, same);
  const Var parts[] = {a, b, c, d};
  return conv(layers, concat(parts, 1), outputs, {});
}

// Nearest neighbours at twice the size.
Var upsample(Var x) {
  const std::int64_t c = x.shape()[1], h = x.shape()[2], w = x.shape()[3];
  const Var repeated = broadcast_to(reshape(x, {kUnknown, c, h, 1, w, 1}), {kUnknown, c, h, 2, w, 2});
  return reshape(repeated, {kUnknown, c, 2 * h, 2 * w});
}

Var joined(Var a, Var b) {
  const Var parts[] = {a, b};
  return concat(parts, 1);
}

// [N, 3 anchors, H, W, box + objectness + classes]
void head(Layers& layers, Var x, const std::string& name) {
  const Var y = layers.convolution(x, 255, {.bias = true}, kGain);
  output(name, transpose(reshape(y, {kUnknown, 3, 85, x.shape()[2], x.shape()[3]}), {0, 1, 3, 4, 2}));
}

}  // namespace

Graph build_yolo_v5s() {
  Layers layers("yolo_v5s", 5);
  const ConvolutionLayer down{.kernel = 3, .stride = 2};
  Var x = layers.input("images", DType::f32, {3, 640, 640});
  x = conv(layers, x, 32, {.kernel = 6, .stride = 2, .padding = 2});
  x = c3(layers, conv(layers, x, 64, down), 64, 1, true);
  const Var p3 = c3(layers, conv(layers, x, 128, down), 128, 2, true);
  const Var p4 = c3(layers, conv(layers, p3, 256, down), 256, 3, true);
  x = c3(layers, conv(layers, p4, 512, down), 512, 1, true);
  const Var top = conv(layers, pool_pyramid(layers, x, 512), 256, {});
  const Var middle = conv(layers, c3(layers, joined(upsample(top), p4), 256, 1, false), 128, {});
  const Var small = c3(layers, joined(upsample(middle), p3), 128, 1, false);
  const Var medium = c3(layers, joined(conv(layers, small, 128, down), middle), 256, 1, false);
  const Var large = c3(layers, joined(conv(layers, medium, 256, down), top), 512, 1, false);
  head(layers, small, "stride8");
  head(layers, medium, "stride16");
  head(layers, large, "stride32");
  return std::move(layers.graph);
}

}  // namespace ml::bench
