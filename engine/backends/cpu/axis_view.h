// A dense row-major tensor as [outer, extent, inner] around one axis, and its elements as the types they compute in.
#pragma once

#include <cstdint>

#include "engine/backends/backend.h"
#include "engine/graph/scalar.h"

namespace ml::cpu {

struct AxisView {
  std::int64_t outer = 1, extent = 1, inner = 1;
  AxisView(const Shape& shape, std::int64_t axis) : extent(shape[static_cast<int>(axis)]) {
    for (int d = 0; d < shape.rank(); ++d) {
      if (d < axis) outer *= shape[d];
      if (d > axis) inner *= shape[d];
    }
  }
};

template <class T>
T value_of(T element) {
  return element;
}
inline float value_of(Half element) { return f16_to_f32(element.bits); }
inline float value_of(BFloat element) { return bf16_to_f32(element.bits); }

template <class T>
struct ElementOf {
  template <class V>
  static T make(V value) {
    return static_cast<T>(value);
  }
};
template <>
struct ElementOf<Half> {
  static Half make(double value) { return {f32_to_f16(static_cast<float>(value))}; }
};
template <>
struct ElementOf<BFloat> {
  static BFloat make(double value) { return {f32_to_bf16(static_cast<float>(value))}; }
};

inline bool all_row_major(const KernelRequest& request) {
  for (const auto* operands : {&request.inputs, &request.outputs}) {
    for (const Operand& operand : *operands) {
      if (operand.layout != row_major(operand.type.shape)) return false;
    }
  }
  return true;
}
inline const char* refuse_strided(const KernelRequest& request) {
  return all_row_major(request) ? nullptr : refusal::kLayout;
}

}  // namespace ml::cpu
