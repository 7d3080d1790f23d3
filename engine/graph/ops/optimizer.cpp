// Optimizer steps: parameter and state in, parameter and state out; whoever builds the training step donates them. f16
// and bf16 compute in f32 and round once.
#include "engine/graph/ops/optimizer.h"

#include <cmath>

#include "engine/graph/build_nn.h"
#include "engine/graph/ops/differentiate.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

// The first `count` inputs are the parameter, its gradient and its state: of one type.
void check_tensors(const InferArguments& a, std::size_t count) {
  rules::want_floating(a);
  for (std::size_t i = 1; i < count; ++i) {
    if (a.dtype(i) == a.dtype(0) && rules::same_shape(a.shape(i), a.shape(0))) continue;
    rules::fail(a, "parameter, gradient and state are of different types: " + rules::text(a.inputs[0]) + " and " +
                       rules::text(a.inputs[i]));
  }
}
void check_rate(const InferArguments& a, std::size_t i) {
  if (!is_differentiable(a.dtype(i)) || a.shape(i).rank() != 0)
    rules::fail(a, "wants a floating scalar as learning rate, got " + rules::text(a.inputs[i]));
}

// (parameter, gradient, velocity, rate) -> (parameter, velocity)
std::vector<TensorType> infer_sgd(const InferArguments& a) {
  check_tensors(a, 3);
  check_rate(a, 3);
  return {a.inputs[0], a.inputs[0]};
}

std::vector<Var> decompose_sgd(Args a) {
  const auto& attributes = a.as<SgdAttributes>();
  const DType dtype = a.inputs[0].dtype();
  const DType wide = dtype_info(dtype).compute;
  const Var parameter = cast(a.inputs[0], wide);
  Var gradient = cast(a.inputs[1], wide);
  if (attributes.weight_decay != 0) gradient = gradient + parameter * attributes.weight_decay;
  const Var velocity = cast(a.inputs[2], wide) * attributes.momentum + gradient;
  const Var direction = attributes.nesterov ? gradient + velocity * attributes.momentum : velocity;
  return {cast(parameter - cast(a.inputs[3], wide) * direction, dtype), cast(velocity, dtype)};
}

// (parameter, gradient, m, v, rate, step) -> (parameter, m, v)
std::vector<TensorType> infer_adam(const InferArguments& a) {
  check_tensors(a, 4);
  check_rate(a, 4);
  if (!is_integer(a.dtype(5)) || is_narrow(a.dtype(5)) || a.shape(5).rank() != 0)
    rules::fail(a, "wants an integer scalar as number of the step, got " + rules::text(a.inputs[5]));
  return {a.inputs[0], a.inputs[0], a.inputs[0]};
}

// 1 - beta^step, exact even where beta^step is close to 1.
Var bias_correction(Var step, double beta) { return neg(expm1(step * std::log(beta))); }

std::vector<Var> decompose_adam(Args a) {
  const auto& attributes = a.as<AdamAttributes>();
  const DType dtype = a.inputs[0].dtype();
  const DType wide = dtype_info(dtype).compute;
  Var parameter = cast(a.inputs[0], wide);
  Var gradient = cast(a.inputs[1], wide);
  const Var rate = cast(a.inputs[4], wide);
  const Var step = cast(a.inputs[5], wide);
  if (attributes.weight_decay != 0) {
    if (attributes.decoupled)
      parameter = parameter * (1.0 - rate * attributes.weight_decay);
    else
      gradient = gradient + parameter * attributes.weight_decay;
  }
  const Var m = cast(a.inputs[2], wide) * attributes.beta1 + gradient * (1 - attributes.beta1);
  const Var v = cast(a.inputs[3], wide) * attributes.beta2 + gradient * gradient * (1 - attributes.beta2);
  const Var root = sqrt(bias_correction(step, attributes.beta2));
  const Var size = rate / bias_correction(step, attributes.beta1);
  const Var updated = parameter - size * (m / (sqrt(v) / root + attributes.epsilon));
  return {cast(updated, dtype), cast(m, dtype), cast(v, dtype)};
}

template <int per_element>
double flops(const InferArguments& a, std::span<const TensorType>) {
  return per_element * static_cast<double>(a.shape(0).elements());
}

const Op kOps[] = {
    {.name = "sgd_momentum_update",
     .kind = OpKind::composite,
     .min_inputs = 4,
     .max_inputs = 4,
     .infer = infer_sgd,
     .gradient = gradient_of_decomposition<decompose_sgd>(),
     .make_attributes = attributes_of<SgdAttributes>,
     .decompose = decompose_sgd,
     .flops = flops<6>},
    {.name = "adam_update",
     .kind = OpKind::composite,
     .min_inputs = 6,
     .max_inputs = 6,
     .infer = infer_adam,
     .gradient = gradient_of_decomposition<decompose_adam>(),
     .make_attributes = attributes_of<AdamAttributes>,
     .decompose = decompose_adam,
     .flops = flops<16>},
};

}  // namespace

std::span<const Op> optimizer_ops() { return kOps; }

SgdUpdate sgd_momentum_update(Var parameter, Var gradient, Var velocity, Var rate, const SgdAttributes& attributes) {
  const std::vector<Var> results = emit_all("sgd_momentum_update", {parameter, gradient, velocity, rate},
                                            std::make_shared<SgdAttributes>(attributes));
  return {results[0], results[1]};
}

AdamUpdate adam_update(Var parameter, Var gradient, Var m, Var v, Var rate, Var step,
                       const AdamAttributes& attributes) {
  const std::vector<Var> results =
      emit_all("adam_update", {parameter, gradient, m, v, rate, step}, std::make_shared<AdamAttributes>(attributes));
  return {results[0], results[1], results[2]};
}

}  // namespace ml
