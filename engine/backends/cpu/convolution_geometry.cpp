#include "engine/backends/cpu/convolution_geometry.h"

#include <algorithm>

#include "engine/backends/cpu/channels_last.h"
#include "engine/graph/ops/convolution.h"

namespace ml::cpu {

ConvolutionRequest::ConvolutionRequest(const KernelRequest& request) {
  if (request.op.name == "convolution") {
    const auto& attributes = request.as<ConvolutionAttributes>();
    direction = Direction::forward;
    x = &request.inputs[0];
    w = &request.inputs[1];
    y = request.outputs.data();
    if (request.inputs.size() == 3) bias = &request.inputs[2];
    windows = attributes.windows;
    groups = attributes.groups;
    return;
  }
  const auto& attributes = request.as<ConvolutionGradientAttributes>();
  windows = attributes.windows;
  groups = attributes.groups;
  if (request.op.name == "convolution_input_gradient") {
    direction = Direction::input_gradient;
    y = &request.inputs[0];
    w = &request.inputs[1];
    x = request.outputs.data();
  } else {
    direction = Direction::weight_gradient;
    x = &request.inputs[0];
    y = &request.inputs[1];
    w = request.outputs.data();
  }
}

bool ConvolutionRequest::empty() const {
  const auto none = [](const Operand* operand) { return operand->type.shape.elements() == 0; };
  return none(x) || none(w) || none(y);
}

double ConvolutionRequest::flops() const {
  const Shape& weight = w->type.shape;
  const auto products =
      static_cast<double>(weight.elements()) / static_cast<double>(std::max<std::int64_t>(weight[0], 1));
  return 2.0 * static_cast<double>(y->type.shape.elements()) * products;
}

void prefer_channels_last(const KernelRequest& node, std::vector<Layout>& inputs, std::vector<Layout>& outputs) {
  const ConvolutionRequest request(node);
  const auto set = [&](const std::vector<Operand>& operands, std::vector<Layout>& layouts) {
    for (std::size_t i = 0; i < operands.size(); ++i) {
      const bool activation = &operands[i] == request.x || &operands[i] == request.y;
      layouts[i] = activation ? channels_last(operands[i].type.shape) : row_major(operands[i].type.shape);
    }
  };
  set(node.inputs, inputs);
  set(node.outputs, outputs);
}

Lines lines_of(const Shape& x, const Shape& window, int window_from, const Shape& y, const Windows& windows) {
  Lines lines;
  const int spatial = x.rank() - 2;
  for (int d = 0; d < spatial; ++d) {
    const auto i = static_cast<std::size_t>(d);
    lines.line[3 - spatial + d] = {.extent = x[d + 2],
                                   .window = window[d + window_from],
                                   .count = y[d + 2],
                                   .stride = windows.strides[i],
                                   .pad = windows.pad_low[i],
                                   .dilation = windows.dilations[i]};
  }
  return lines;
}

}  // namespace ml::cpu
