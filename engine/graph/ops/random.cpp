// Random numbers as pure functions of a state, which they answer advanced; random.h says which bits they are.
#include "engine/graph/ops/random.h"

#include <cmath>
#include <numbers>

#include "engine/graph/build_nn.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

constexpr Gradient kNone = no_gradient("random numbers do not depend on anything that has a derivative");

const TensorType kState{DType::u64, {2}};

void check_state(const InferArguments& a, std::size_t i) {
  if (a.dtype(i) != DType::u64 || !rules::same_shape(a.shape(i), kState.shape))
    rules::fail(a, "wants a state u64[2] (key, counter), got " + rules::text(a.inputs[i]));
}

void check_shape(const InferArguments& a, const Shape& shape) {
  if (!shape.known()) rules::fail(a, "cannot fill the unknown shape " + shape.str(), "bind the shapes first");
}

std::vector<TensorType> infer_bits(const InferArguments& a) {
  const Shape& shape = a.as<RandomBitsAttributes>().shape;
  check_state(a, 0);
  check_shape(a, shape);
  return {{DType::u32, shape}, kState};
}

std::vector<TensorType> infer_random(const InferArguments& a) {
  const auto& attributes = a.as<RandomAttributes>();
  check_state(a, 0);
  check_shape(a, attributes.shape);
  if (!is_differentiable(attributes.dtype))
    rules::fail(a, "makes floating numbers, not " + std::string(dtype_name(attributes.dtype)));
  return {{attributes.dtype, attributes.shape}, kState};
}

// The upper bits of a word, as many as the dtype's significand has, as a fraction in [0, 1): 24 for f32, 11 for f16, 8
// for bf16. f64 takes 53 bits of words 2i (low) and 2i + 1 (high).
RandomNumbers fractions(Var state, DType dtype, const Shape& shape) {
  if (dtype == DType::f64) {
    const auto [bits, next] = random_bits(state, {shape.elements(), 2});
    const std::int64_t count = shape.elements();
    const Var low = cast(slice(bits, {0, 0}, {count, 1}), DType::u64);
    const Var high = cast(slice(bits, {0, 1}, {count, 2}), DType::u64);
    const Var word = bit_or(shift_left(high, 32.0), low);
    return {reshape(cast(shift_right(word, 11.0), dtype) * 0x1p-53, shape), next};
  }
  const int significant = dtype == DType::f32 ? 24 : dtype == DType::f16 ? 11 : 8;
  const auto [bits, next] = random_bits(state, shape);
  return {cast(shift_right(bits, 32.0 - significant), dtype) * std::exp2(-significant), next};
}

std::vector<Var> decompose_uniform(Args a) {
  const auto& attributes = a.as<RandomAttributes>();
  const auto [values, next] = fractions(a.inputs[0], attributes.dtype, attributes.shape);
  return {values, next};
}

// Box and Muller (1958). Of n numbers and h = ceil(n / 2) pairs of fractions (u[i], u[h + i]), number i < h is
// sqrt(-2 log(1 - u[i])) cos(2 pi u[h + i]) and number h + i the same with sin. f16 and bf16 round those of f32.
std::vector<Var> decompose_normal(Args a) {
  const auto& attributes = a.as<RandomAttributes>();
  const std::int64_t count = attributes.shape.elements();
  const std::int64_t half = count / 2 + count % 2;
  const auto [u, next] = fractions(a.inputs[0], dtype_info(attributes.dtype).compute, {2 * half});
  const Var radius = sqrt(log(1.0 - slice(u, {0}, {half})) * -2.0);
  const Var angle = slice(u, {half}, {2 * half}) * (2 * std::numbers::pi);
  const Var pairs[] = {radius * cos(angle), radius * sin(angle)};
  const Var numbers = slice(concat(pairs, 0), {0}, {count});
  return {cast(reshape(numbers, attributes.shape), attributes.dtype), next};
}

// (x, state) -> (y, mask, state)
std::vector<TensorType> infer_dropout(const InferArguments& a) {
  rules::want_floating(a);
  check_state(a, 1);
  const double rate = a.as<DropoutAttributes>().rate;
  if (!(rate >= 0 && rate <= 1)) rules::fail(a, "its rate wants to be in [0, 1], not " + std::to_string(rate));
  return {a.inputs[0], {DType::boolean, a.shape(0)}, kState};
}

double kept_scale(const RuleArguments& a) {
  const double rate = a.as<DropoutAttributes>().rate;
  return rate < 1 ? 1 / (1 - rate) : 0;
}
Var keep(Var mask, Var x, double scale) { return select(mask, x * scale, scalar(*x.graph, x.dtype(), 0)); }

// An element stays when its fraction of f32, whatever the dtype of x, is not below the rate.
std::vector<Var> decompose_dropout(Args a) {
  const Var x = a.inputs[0];
  const auto [u, next] = fractions(a.inputs[1], DType::f32, x.shape());
  const Var mask = ge(u, a.as<DropoutAttributes>().rate);
  return {keep(mask, x, kept_scale(a)), mask, next};
}

std::vector<Var> gradient_dropout(Args a) { return {keep(a.outputs[1], a.cotangents[0], kept_scale(a)), Var{}}; }

template <int per_element>
double flops(const InferArguments&, std::span<const TensorType> outputs) {
  return per_element * static_cast<double>(outputs[0].shape.elements());
}

const Op kOps[] = {
    {.name = "random_bits",
     .kind = OpKind::random,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_bits,
     .gradient = kNone,
     .make_attributes = attributes_of<RandomBitsAttributes>,
     .flops = flops<20>},
    {.name = "random_uniform",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_random,
     .gradient = kNone,
     .make_attributes = attributes_of<RandomAttributes>,
     .decompose = decompose_uniform,
     .flops = flops<22>},
    {.name = "random_normal",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_random,
     .gradient = kNone,
     .make_attributes = attributes_of<RandomAttributes>,
     .decompose = decompose_normal,
     .flops = flops<50>},
    {.name = "dropout",
     .kind = OpKind::composite,
     .min_inputs = 2,
     .max_inputs = 2,
     .infer = infer_dropout,
     .gradient = gradient_by(gradient_dropout),
     .make_attributes = attributes_of<DropoutAttributes>,
     .decompose = decompose_dropout,
     .flops = flops<24>},
};

RandomNumbers random(const char* op, Var state, DType dtype, const Shape& shape) {
  auto attributes = std::make_shared<RandomAttributes>();
  attributes->dtype = dtype;
  attributes->shape = shape;
  const std::vector<Var> results = emit_all(op, {state}, std::move(attributes));
  return {results[0], results[1]};
}

}  // namespace

std::span<const Op> random_ops() { return kOps; }

RandomNumbers random_bits(Var state, const Shape& shape) {
  auto attributes = std::make_shared<RandomBitsAttributes>();
  attributes->shape = shape;
  const std::vector<Var> results = emit_all("random_bits", {state}, std::move(attributes));
  return {results[0], results[1]};
}

RandomNumbers random_uniform(Var state, DType dtype, const Shape& shape) {
  return random("random_uniform", state, dtype, shape);
}

RandomNumbers random_normal(Var state, DType dtype, const Shape& shape) {
  return random("random_normal", state, dtype, shape);
}

Dropout dropout(Var x, Var state, double rate) {
  auto attributes = std::make_shared<DropoutAttributes>();
  attributes->rate = rate;
  const std::vector<Var> results = emit_all("dropout", {x, state}, std::move(attributes));
  return {results[0], results[1], results[2]};
}

}  // namespace ml
