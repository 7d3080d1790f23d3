// Activations with their channels innermost: NHWC and its one- and three-dimensional kin.
#pragma once

#include <vector>

#include "engine/backends/backend.h"

namespace ml::cpu {

inline Layout channels_last(const Shape& shape) {
  std::vector<int> order{0};
  for (int d = 2; d < shape.rank(); ++d) order.push_back(d);
  order.push_back(1);
  return permuted(shape, order);
}

// Equal strides wherever a stride matters.
inline bool lies_as(const Operand& operand, const Layout& layout) {
  for (int d = 0; d < operand.type.shape.rank(); ++d) {
    const auto i = static_cast<std::size_t>(d);
    if (operand.type.shape[d] > 1 && operand.layout.strides[i] != layout.strides[i]) return false;
  }
  return true;
}
inline bool lies_row_major(const Operand& operand) { return lies_as(operand, row_major(operand.type.shape)); }
inline bool lies_channels_last(const Operand& operand) { return lies_as(operand, channels_last(operand.type.shape)); }

// For a convolution, forward or gradient: activations channels-last, weights as they come.
void prefer_channels_last(const KernelRequest& node, std::vector<Layout>& inputs, std::vector<Layout>& outputs);

}  // namespace ml::cpu
