// Element-wise primitives. Inputs broadcast like NumPy and share a dtype; results keep it, comparisons answer bool.
//
// Narrow dtypes are cast, selected and compared for equality; arithmetic refuses them.
//
// Integers wrap; integer division and remainder truncate towards zero and answer 0 for a zero divisor; shifts past the
// width answer 0 (or the sign). f16 and bf16 compute in f32 and round once.
#include <numbers>

#include "engine/graph/build.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using rules::broadcast_inputs;

using Check = void (*)(const InferArguments&, std::size_t);
void any_dtype(const InferArguments&, std::size_t) {}

template <Check check>
std::vector<TensorType> same_type(const InferArguments& a) {
  rules::same_dtypes(a);
  check(a, 0);
  return {{a.dtype(0), broadcast_inputs(a)}};
}
template <Check check>
std::vector<TensorType> to_boolean(const InferArguments& a) {
  rules::same_dtypes(a);
  check(a, 0);
  return {{DType::boolean, broadcast_inputs(a)}};
}
std::vector<TensorType> infer_select(const InferArguments& a) {
  rules::want_boolean(a, 0);
  rules::same_dtypes(a, 1);
  return {{a.dtype(1), broadcast_inputs(a)}};
}
std::vector<TensorType> infer_cast(const InferArguments& a) { return {{a.as<DTypeAttributes>().dtype, a.shape(0)}}; }

constexpr InferRule kFloat = same_type<rules::want_floating>;
constexpr InferRule kNumber = same_type<rules::want_numeric>;
constexpr InferRule kInteger = same_type<rules::want_integer>;
constexpr InferRule kLogic = same_type<rules::want_boolean>;
constexpr InferRule kCompare = to_boolean<any_dtype>;
constexpr InferRule kOrder = to_boolean<rules::want_numeric>;
constexpr InferRule kClassify = to_boolean<rules::want_floating>;

using Args = const RuleArguments&;
// The cotangent, the inputs and the output of a gradient rule, under the names they have on paper.
Var dy(Args a) { return a.cotangents[0]; }
Var in0(Args a) { return a.inputs[0]; }
Var in1(Args a) { return a.inputs[1]; }
Var out(Args a) { return a.outputs[0]; }

// A unary op whose gradient is dy * f.
#define ML_TIMES(expression) gradient_by([](Args a) -> std::vector<Var> { return {mul(dy(a), expression)}; })

constexpr Gradient kFlat = gradient_by([](Args) -> std::vector<Var> { return {Var{}}; });  // piecewise constant
constexpr Gradient kBoolean = no_gradient("its result is boolean");
constexpr Gradient kBits = no_gradient("it works on integers");

// Where a and b tie, half of the cotangent goes to each.
std::vector<Var> share_extremum(Args a) {
  const Var takes0 = cast(eq(out(a), in0(a)), out(a).dtype());
  const Var takes1 = cast(eq(out(a), in1(a)), out(a).dtype());
  const Var part = div(dy(a), add(takes0, takes1));
  return {mul(part, takes0), mul(part, takes1)};
}

// d/da a^b = b a^(b-1), 0 for b = 0 even where a^-1 is infinite; d/db a^b = a^b log a, 0 where a <= 0.
std::vector<Var> gradient_pow(Args a) {
  const Var base = in0(a), exponent = in1(a);
  const Var zero = scalar(*base.graph, base.dtype(), 0);
  const Var one = scalar(*base.graph, base.dtype(), 1);
  const Var power = pow(base, sub(exponent, one));
  const Var finite = select(logical_and(is_inf(power), eq(exponent, zero)), zero, power);
  const Var positive = gt(base, zero);
  const Var safe = select(positive, base, one);
  return {mul(dy(a), mul(exponent, finite)), mul(dy(a), mul(select(positive, out(a), zero), log(safe)))};
}

double few_flops(const InferArguments&, std::span<const TensorType> outputs) {
  return 10.0 * static_cast<double>(outputs[0].shape.elements());  // a polynomial and an exponent, about
}

constexpr Op unary(std::string_view name, InferRule infer, Gradient gradient, CostRule flops = nullptr) {
  return {.name = name,
          .kind = OpKind::elementwise,
          .min_inputs = 1,
          .max_inputs = 1,
          .infer = infer,
          .gradient = gradient,
          .flops = flops};
}
constexpr Op binary(std::string_view name, InferRule infer, Gradient gradient, CostRule flops = nullptr) {
  return {.name = name,
          .kind = OpKind::elementwise,
          .min_inputs = 2,
          .max_inputs = 2,
          .infer = infer,
          .gradient = gradient,
          .flops = flops};
}

const Op kOps[] = {
    unary("neg", kNumber, gradient_by([](Args a) -> std::vector<Var> { return {neg(dy(a))}; })),
    unary("abs", kNumber, ML_TIMES(sign(in0(a)))),
    unary("sign", kNumber, kFlat),
    unary("exp", kFloat, ML_TIMES(out(a)), few_flops),
    unary("expm1", kFloat, ML_TIMES(out(a) + 1.0), few_flops),
    unary("log", kFloat, gradient_by([](Args a) -> std::vector<Var> { return {dy(a) / in0(a)}; }), few_flops),
    unary("log1p", kFloat, gradient_by([](Args a) -> std::vector<Var> { return {dy(a) / (in0(a) + 1.0)}; }), few_flops),
    unary("sqrt", kFloat, gradient_by([](Args a) -> std::vector<Var> { return {dy(a) * 0.5 / out(a)}; })),
    unary("rsqrt", kFloat, ML_TIMES(out(a) / in0(a) * -0.5)),
    unary("reciprocal", kFloat, ML_TIMES(neg(out(a) * out(a)))),
    unary("sin", kFloat, ML_TIMES(cos(in0(a))), few_flops),
    unary("cos", kFloat, ML_TIMES(neg(sin(in0(a)))), few_flops),
    unary("tan", kFloat, ML_TIMES(out(a) * out(a) + 1.0), few_flops),
    unary("asin", kFloat, ML_TIMES(rsqrt(1.0 - in0(a) * in0(a))), few_flops),
    unary("acos", kFloat, ML_TIMES(neg(rsqrt(1.0 - in0(a) * in0(a)))), few_flops),
    unary("atan", kFloat, ML_TIMES(reciprocal(in0(a) * in0(a) + 1.0)), few_flops),
    unary("sinh", kFloat, ML_TIMES(cosh(in0(a))), few_flops),
    unary("cosh", kFloat, ML_TIMES(sinh(in0(a))), few_flops),
    unary("tanh", kFloat, ML_TIMES(1.0 - out(a) * out(a)), few_flops),
    unary("erf", kFloat, ML_TIMES(exp(neg(in0(a) * in0(a))) * (2.0 * std::numbers::inv_sqrtpi)), few_flops),
    unary("sigmoid", kFloat, ML_TIMES(out(a) * (1.0 - out(a))), few_flops),
    unary("floor", kFloat, kFlat),
    unary("ceil", kFloat, kFlat),
    unary("round", kFloat, kFlat),  // halves to even
    unary("logical_not", kLogic, kBoolean),
    unary("bit_not", kInteger, kBits),
    unary("is_nan", kClassify, kBoolean),
    unary("is_inf", kClassify, kBoolean),

    binary("add", kNumber, gradient_by([](Args a) -> std::vector<Var> {
             return {dy(a), dy(a)};
           })),
    binary("sub", kNumber, gradient_by([](Args a) -> std::vector<Var> {
             return {dy(a), neg(dy(a))};
           })),
    binary("mul", kNumber, gradient_by([](Args a) -> std::vector<Var> {
             return {dy(a) * in1(a), dy(a) * in0(a)};
           })),
    binary("div", kNumber, gradient_by([](Args a) -> std::vector<Var> {
             return {dy(a) / in1(a), neg(dy(a) * out(a) / in1(a))};
           })),
    // a - b * trunc(a / b), the sign of a: C's fmod and %.
    binary("rem", kNumber, gradient_by([](Args a) -> std::vector<Var> {
             return {dy(a), neg(dy(a) * ((in0(a) - out(a)) / in1(a)))};
           })),
    binary("pow", kFloat, gradient_by(gradient_pow), few_flops),
    binary("maximum", kNumber, gradient_by(share_extremum)),  // NaN wins
    binary("minimum", kNumber, gradient_by(share_extremum)),  // NaN wins
    binary("atan2", kFloat, gradient_by([](Args a) -> std::vector<Var> {
             const Var part = dy(a) / (in0(a) * in0(a) + in1(a) * in1(a));
             return {part * in1(a), neg(part * in0(a))};
           }),
           few_flops),
    binary("bit_and", kInteger, kBits),
    binary("bit_or", kInteger, kBits),
    binary("bit_xor", kInteger, kBits),
    binary("shift_left", kInteger, kBits),
    binary("shift_right", kInteger, kBits),  // arithmetic for signed integers
    binary("logical_and", kLogic, kBoolean),
    binary("logical_or", kLogic, kBoolean),
    binary("logical_xor", kLogic, kBoolean),
    binary("eq", kCompare, kBoolean),
    binary("ne", kCompare, kBoolean),
    binary("lt", kOrder, kBoolean),
    binary("le", kOrder, kBoolean),
    binary("gt", kOrder, kBoolean),
    binary("ge", kOrder, kBoolean),

    {.name = "select",
     .kind = OpKind::elementwise,
     .min_inputs = 3,
     .max_inputs = 3,
     .infer = infer_select,
     .gradient = gradient_by([](Args a) -> std::vector<Var> {
       const Var zero = scalar(*dy(a).graph, dy(a).dtype(), 0);
       return {Var{}, select(in0(a), dy(a), zero), select(in0(a), zero, dy(a))};
     })},
    {.name = "cast",
     .kind = OpKind::elementwise,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_cast,
     .gradient = gradient_by([](Args a) -> std::vector<Var> {
       return {is_differentiable(in0(a).dtype()) ? cast(dy(a), in0(a).dtype()) : Var{}};
     }),
     .make_attributes = attributes_of<DTypeAttributes>},
};
#undef ML_TIMES

}  // namespace

std::span<const Op> elementwise_ops() { return kOps; }

#define X(op) \
  Var op(Var x) { return emit(#op, {x}); }
ML_UNARY_OPS(X)
#undef X
#define X(op)                                                                        \
  Var op(Var a, Var b) { return emit(#op, {a, b}); }                                 \
  Var op(Var a, double b) { return emit(#op, {a, scalar(*a.graph, a.dtype(), b)}); } \
  Var op(double a, Var b) { return emit(#op, {scalar(*b.graph, b.dtype(), a), b}); }
ML_BINARY_OPS(X)
#undef X

Var select(Var condition, Var on_true, Var on_false) { return emit("select", {condition, on_true, on_false}); }

Var cast(Var x, DType dtype) {
  if (x.dtype() == dtype) return x;
  auto attributes = std::make_shared<DTypeAttributes>();
  attributes->dtype = dtype;
  return emit("cast", {x}, std::move(attributes));
}

}  // namespace ml
