// Host tensors of floats for the tests of this folder.
#pragma once

#include <cstring>
#include <initializer_list>
#include <vector>

#include "engine/runtime/evaluate.h"

namespace ml::test {

inline HostTensor floats(const Shape& shape, const std::vector<float>& values) {
  HostTensor tensor{DType::f32, shape, std::vector<std::byte>(values.size() * sizeof(float))};
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

template <class T = float>
std::vector<T> values_of(const HostTensor& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

}  // namespace ml::test
