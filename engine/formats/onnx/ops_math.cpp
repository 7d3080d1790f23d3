// Element-wise operators, casts and matrix products.
#include <cmath>
#include <limits>

#include "engine/formats/onnx/node.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

template <Var (*op)(Var)>
Results unary(Node n) {
  return {op(n.in(0))};
}
template <Var (*op)(Var, Var)>
Results binary(Node n) {
  return {op(n.in(0), n.in(1))};
}
template <Var (*op)(Var, Var)>
Results variadic(Node n) {
  Var result = n.in(0);
  for (std::size_t i = 1; i < n.input_count(); ++i) result = op(result, n.in(i));
  return {result};
}

Results mean(Node n) {
  Results sum = variadic<add>(n);
  return {sum[0] / static_cast<double>(n.input_count())};
}

// fmod = 0: the result has the divisor's sign (integers only); fmod = 1: C's fmod.
Results mod(Node n) {
  const Var a = n.in(0), b = n.in(1);
  const Var remainder = rem(a, b);
  if (n.integer("fmod", 0) != 0 || !is_signed(a.dtype())) return {remainder};
  if (is_floating(a.dtype())) n.invalid("Mod of floats needs fmod = 1");
  const Var wrong_sign = logical_and(ne(remainder, 0.0), logical_xor(lt(remainder, 0.0), lt(b, 0.0)));
  return {select(wrong_sign, remainder + b, remainder)};
}

// Integer powers go through f64, exact up to 2^53.
Results power(Node n) {
  const Var base = n.in(0), exponent = n.in(1);
  if (is_floating(base.dtype())) return {pow(base, cast(exponent, base.dtype()))};
  return {cast(pow(cast(base, DType::f64), cast(exponent, DType::f64)), base.dtype())};
}

Results bit_shift(Node n) {
  const bool left = n.text("direction", "") == "LEFT";
  return {left ? shift_left(n.in(0), n.in(1)) : shift_right(n.in(0), n.in(1))};
}

// Float8 has NaN and infinities, but no arithmetic.
Var computable(Var x) { return is_narrow(x.dtype()) ? cast(x, DType::f32) : x; }
Results not_a_number(Node n) { return {is_nan(computable(n.in(0)))}; }

Results infinite(Node n) {
  const Var x = computable(n.in(0));
  Var result = is_inf(x);
  if (n.integer("detect_negative", 1) == 0) result = logical_and(result, gt(x, 0.0));
  if (n.integer("detect_positive", 1) == 0) result = logical_and(result, lt(x, 0.0));
  return {result};
}

// Bounds are attributes before operator set 11 and optional inputs since.
Results clip(Node n) {
  Var x = n.in(0);
  if (n.version() < 11) {
    if (n.has_attribute("min")) x = maximum(x, n.number("min", 0));
    if (n.has_attribute("max")) x = minimum(x, n.number("max", 0));
    return {x};
  }
  if (n.has(1)) x = maximum(x, n.in(1));
  if (n.has(2)) x = minimum(x, n.in(2));
  return {x};
}

Results celu(Node n) {
  const double alpha = n.number("alpha", 1);
  const Var x = n.in(0);
  return {maximum(x, 0.0) + minimum(expm1(minimum(x, 0.0) / alpha) * alpha, 0.0)};
}
Results elu(Node n) {
  const Var x = n.in(0);
  return {select(gt(x, 0.0), x, expm1(minimum(x, 0.0)) * n.number("alpha", 1))};
}
Results selu(Node n) {
  const Var x = n.in(0);
  const double alpha = n.number("alpha", 1.67326319217681884765625),
               gamma = n.number("gamma", 1.05070102214813232421875);
  return {select(gt(x, 0.0), x, expm1(minimum(x, 0.0)) * alpha) * gamma};
}
Results gelu_operator(Node n) { return {gelu(n.in(0), n.text("approximate", "none") == "tanh")}; }
Results hard_sigmoid(Node n) { return {clamp(n.in(0) * n.number("alpha", 0.2) + n.number("beta", 0.5), 0, 1)}; }
Results hard_swish_operator(Node n) { return {hard_swish(n.in(0))}; }
Results leaky_relu(Node n) {
  const Var x = n.in(0);
  return {select(lt(x, 0.0), x * n.number("alpha", 0.01), x)};
}
Results prelu(Node n) {
  const Var x = n.in(0);
  return {select(lt(x, 0.0), x * n.in(1), x)};
}
// log(1 + e^x) without overflow.
Var softplus(Var x) { return maximum(x, 0.0) + log1p(exp(neg(abs(x)))); }
Results mish(Node n) { return {n.in(0) * tanh(softplus(n.in(0)))}; }
Results softsign(Node n) { return {n.in(0) / (abs(n.in(0)) + 1.0)}; }
Results thresholded_relu(Node n) {
  const Var x = n.in(0);
  return {select(gt(x, n.number("alpha", 1)), x, scalar(n.graph, x.dtype(), 0))};
}
Results shrink(Node n) {
  const Var x = n.in(0), zero = scalar(n.graph, x.dtype(), 0);
  const double bias = n.number("bias", 0), lambda = n.number("lambd", 0.5);
  return {select(lt(x, -lambda), x + bias, select(gt(x, lambda), x - bias, zero))};
}
Results swish(Node n) { return {n.in(0) * sigmoid(n.in(0) * n.number("alpha", 1))}; }
Results where(Node n) { return {select(n.in(0), n.in(1), n.in(2))}; }
Results identity(Node n) { return {n.in(0)}; }

Results acosh_operator(Node n) {
  const Var x = n.in(0);
  return {log(x + sqrt(x * x - 1.0))};
}
Results asinh_operator(Node n) {
  const Var x = n.in(0), magnitude = abs(x);
  return {sign(x) * log1p(magnitude + x * x / (sqrt(x * x + 1.0) + 1.0))};
}
Results atanh_operator(Node n) {
  const Var x = n.in(0);
  return {(log1p(x) - log1p(neg(x))) * 0.5};
}

Results matrix_product(Node n) { return {matmul(n.in(0), n.in(1))}; }

// alpha * A' * B' + beta * C.
Results gemm(Node n) {
  const double alpha = n.number("alpha", 1), beta = n.number("beta", 1);
  Var result = matmul(n.in(0), n.in(1), n.integer("transA", 0) != 0, n.integer("transB", 0) != 0);
  if (alpha != 1) result = result * alpha;
  if (n.has(2) && beta != 0) result = result + (beta == 1 ? n.in(2) : n.in(2) * beta);
  return {result};
}

constexpr Operator kOperators[] = {
    {"Abs", 1, kAny, unary<abs>},
    {"Acos", 7, kAny, unary<acos>},
    {"Acosh", 9, kAny, acosh_operator},
    {"Add", 7, kAny, binary<add>},
    {"And", 7, kAny, binary<logical_and>},
    {"Asin", 7, kAny, unary<asin>},
    {"Asinh", 9, kAny, asinh_operator},
    {"Atan", 7, kAny, unary<atan>},
    {"Atanh", 9, kAny, atanh_operator},
    {"BitShift", 11, kAny, bit_shift},
    {"BitwiseAnd", 18, kAny, binary<bit_and>},
    {"BitwiseNot", 18, kAny, unary<bit_not>},
    {"BitwiseOr", 18, kAny, binary<bit_or>},
    {"BitwiseXor", 18, kAny, binary<bit_xor>},
    {"Ceil", 6, kAny, unary<ceil>},
    {"Celu", 12, kAny, celu},
    {"Clip", 6, kAny, clip},
    {"Cos", 7, kAny, unary<cos>},
    {"Cosh", 9, kAny, unary<cosh>},
    {"Div", 7, kAny, binary<div>},
    {"Elu", 6, kAny, elu},
    {"Equal", 7, kAny, binary<eq>},
    {"Erf", 9, kAny, unary<erf>},
    {"Exp", 6, kAny, unary<exp>},
    {"Floor", 6, kAny, unary<floor>},
    {"Gelu", 20, kAny, gelu_operator},
    {"Gemm", 7, kAny, gemm},
    {"Greater", 7, kAny, binary<gt>},
    {"GreaterOrEqual", 12, kAny, binary<ge>},
    {"HardSigmoid", 6, kAny, hard_sigmoid},
    {"HardSwish", 14, kAny, hard_swish_operator},
    {"Identity", 1, kAny, identity},
    {"IsInf", 10, kAny, infinite},
    {"IsNaN", 9, kAny, not_a_number},
    {"LeakyRelu", 6, kAny, leaky_relu},
    {"Less", 7, kAny, binary<lt>},
    {"LessOrEqual", 12, kAny, binary<le>},
    {"Log", 6, kAny, unary<log>},
    {"MatMul", 1, kAny, matrix_product},
    {"Max", 8, kAny, variadic<maximum>},
    {"Mean", 8, kAny, mean},
    {"Min", 8, kAny, variadic<minimum>},
    {"Mish", 18, kAny, mish},
    {"Mod", 10, kAny, mod},
    {"Mul", 7, kAny, binary<mul>},
    {"Neg", 6, kAny, unary<neg>},
    {"Not", 1, kAny, unary<logical_not>},
    {"Or", 7, kAny, binary<logical_or>},
    {"PRelu", 9, kAny, prelu},
    {"Pow", 7, kAny, power},
    {"Reciprocal", 6, kAny, unary<reciprocal>},
    {"Relu", 6, kAny, unary<relu>},
    {"Round", 11, kAny, unary<round>},
    {"Selu", 6, kAny, selu},
    {"Shrink", 9, kAny, shrink},
    {"Sigmoid", 6, kAny, unary<sigmoid>},
    {"Sign", 9, kAny, unary<sign>},
    {"Sin", 7, kAny, unary<sin>},
    {"Sinh", 9, kAny, unary<sinh>},
    {"Softplus", 1, kAny, unary<softplus>},
    {"Softsign", 1, kAny, softsign},
    {"Sqrt", 6, kAny, unary<sqrt>},
    {"Sub", 7, kAny, binary<sub>},
    {"Sum", 8, kAny, variadic<add>},
    {"Swish", 24, kAny, swish},
    {"Tan", 7, kAny, unary<tan>},
    {"Tanh", 6, kAny, unary<tanh>},
    {"ThresholdedRelu", 10, kAny, thresholded_relu},
    {"Where", 9, kAny, where},
    {"Xor", 7, kAny, binary<logical_xor>},
    {"expm1", 1, 1, unary<expm1>, kRowDomain},
    {"log1p", 1, 1, unary<log1p>, kRowDomain},
};

}  // namespace

std::span<const Operator> math_operators() { return kOperators; }

}  // namespace ml::onnx
