// Host tensors of floats for the tests of this folder.
#pragma once

#include <cstring>
#include <initializer_list>
#include <span>
#include <vector>

#include "engine/runtime/evaluate.h"

namespace ml::test {

inline HostTensor floats(const Shape& shape, const std::vector<float>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {DType::f32, shape, {bytes.begin(), bytes.end()}};
}

template <class T = float>
std::vector<T> values_of(const HostTensor& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

}  // namespace ml::test
