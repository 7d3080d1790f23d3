// Gradients. They are recorded like any other operation, so gradients of gradients are gradients.
//
// Evaluating a tensor drops its history, and no gradient flows through it afterwards: take gradients first, then look
// at values (or evaluate both together).
#pragma once

#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "ml/tensor.h"

namespace ml {

// d loss / d t for each t, of t's shape and dtype. `loss` is a floating tensor of one element that has not been
// evaluated; every t must take part in it. Throws invalid_argument when one doesn't, naming it by its place and shape,
// and unsupported when the path leads through an operation that has no gradient.
ML_API std::vector<Tensor> grad(const Tensor& loss, std::span<const Tensor> with_respect_to);
ML_API std::vector<Tensor> grad(const Tensor& loss, std::initializer_list<Tensor> with_respect_to);
// With respect to one tensor.
ML_API Tensor grad(const Tensor& loss, const Tensor& with_respect_to);

struct ValueAndGradients {
  Tensor value;
  std::vector<Tensor> gradients;
};
// Calls `function` on the tensors and differentiates what it answers.
ML_API ValueAndGradients value_and_grad(const std::function<Tensor(std::span<const Tensor>)>& function,
                                        std::span<const Tensor> at);

}  // namespace ml
