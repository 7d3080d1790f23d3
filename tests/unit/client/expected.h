// What PyTorch computed (expected/make_expected.py), and comparing with it.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "ml/nn.h"

namespace ml {

inline const std::map<std::string, Tensor>& expected() {
  static const std::map<std::string, Tensor> all = [] {
    std::map<std::string, Tensor> tensors;
    for (nn::NamedTensor& entry : nn::load_safetensors("tests/unit/client/expected/expected.safetensors"))
      tensors.emplace(std::move(entry.name), std::move(entry.tensor));
    return tensors;
  }();
  return all;
}

inline void expect_close(const Tensor& is, const Tensor& wanted, const std::string& what, double tolerance = 2e-5) {
  ASSERT_EQ(is.shape(), wanted.shape()) << what;
  const std::vector<double> a = is.to_vector<double>(), b = wanted.to_vector<double>();
  for (std::size_t i = 0; i < a.size(); ++i)
    ASSERT_LE(std::abs(a[i] - b[i]), tolerance * (1 + std::abs(b[i])))
        << what << ", element " << i << ": " << a[i] << " " << b[i];
}

// The message of the error that `body` throws.
template <class F>
std::string message_of(F body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}
template <class F>
Code code_of(F body) {
  try {
    body();
  } catch (const Error& error) {
    return error.code();
  }
  return Code{};
}

}  // namespace ml
