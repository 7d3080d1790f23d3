// Activations: composites, so that a backend may fuse them whole; their decompositions are what they mean.
#include "engine/graph/ops/activation.h"

#include <cmath>
#include <numbers>

#include "engine/graph/build.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

std::vector<TensorType> infer_floating(const InferArguments& a) {
  rules::want_floating(a, 0);
  return {a.inputs[0]};
}
std::vector<TensorType> infer_numeric(const InferArguments& a) {
  rules::want_numeric(a, 0);
  return {a.inputs[0]};
}

// Hendrycks and Gimpel, arXiv 1606.08415: x * Phi(x), or its tanh approximation.
Var gelu_cdf(Var x, bool tanh_approximation) {
  if (!tanh_approximation) return (erf(x * (1 / std::numbers::sqrt2)) + 1.0) * 0.5;
  const Var inner = (x + x * x * x * 0.044715) * std::sqrt(2 * std::numbers::inv_pi);
  return (tanh(inner) + 1.0) * 0.5;
}

std::vector<Var> gradient_gelu(Args a) {
  const Var x = a.inputs[0];
  const bool approximate = a.as<GeluAttributes>().tanh_approximation;
  const Var cdf = gelu_cdf(x, approximate);
  Var density;
  if (approximate) {
    const double c = std::sqrt(2 * std::numbers::inv_pi);
    // d tanh(u) = 1 - tanh(u)^2 = 4 cdf (1 - cdf), half of it through the 0.5 in front.
    density = cdf * (1.0 - cdf) * (1.0 + x * x * (3 * 0.044715)) * (2 * c);
  } else {
    density = exp(x * x * -0.5) * (std::numbers::inv_sqrtpi / std::numbers::sqrt2);
  }
  return {a.cotangents[0] * (cdf + x * density)};
}

std::vector<Var> gradient_silu(Args a) {
  const Var x = a.inputs[0];
  const Var s = sigmoid(x);
  return {a.cotangents[0] * (s * (1.0 + x * (1.0 - s)))};
}

// Howard et al., arXiv 1905.02244.
Var hard_gate(Var x) { return clamp(x * (1.0 / 6) + 0.5, 0, 1); }

std::vector<Var> gradient_hard_swish(Args a) {
  const Var x = a.inputs[0];
  const Var gate = hard_gate(x);
  return {a.cotangents[0] * select(lt(abs(x), 3.0), gate + x * (1.0 / 6), gate)};
}

double gelu_flops(const InferArguments& a, std::span<const TensorType>) {
  return 20.0 * static_cast<double>(a.shape(0).elements());
}

const Op kOps[] = {
    {.name = "relu",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_numeric,
     .gradient = gradient_by([](Args a) -> std::vector<Var> {
       const Var zero = scalar(a.graph, a.outputs[0].dtype(), 0);
       return {select(gt(a.outputs[0], zero), a.cotangents[0], zero)};
     }),
     .decompose = [](Args a) -> std::vector<Var> { return {maximum(a.inputs[0], 0.0)}; }},
    {.name = "gelu",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_floating,
     .gradient = gradient_by(gradient_gelu),
     .make_attributes = attributes_of<GeluAttributes>,
     .decompose = [](Args a) -> std::vector<Var> {
       return {a.inputs[0] * gelu_cdf(a.inputs[0], a.as<GeluAttributes>().tanh_approximation)};
     },
     .flops = gelu_flops},
    {.name = "silu",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_floating,
     .gradient = gradient_by(gradient_silu),
     .decompose = [](Args a) -> std::vector<Var> { return {a.inputs[0] * sigmoid(a.inputs[0])}; },
     .flops = gelu_flops},
    {.name = "hard_swish",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_floating,
     .gradient = gradient_by(gradient_hard_swish),
     .decompose = [](Args a) -> std::vector<Var> { return {a.inputs[0] * hard_gate(a.inputs[0])}; }},
};

}  // namespace

std::span<const Op> activation_ops() { return kOps; }

Var relu(Var x) { return emit("relu", {x}); }

Var gelu(Var x, bool tanh_approximation) {
  auto attributes = std::make_shared<GeluAttributes>();
  attributes->tanh_approximation = tanh_approximation;
  return emit("gelu", {x}, std::move(attributes));
}

Var silu(Var x) { return emit("silu", {x}); }

Var hard_swish(Var x) { return emit("hard_swish", {x}); }

Var clamp(Var x, double low, double high) { return minimum(maximum(x, low), high); }

}  // namespace ml
