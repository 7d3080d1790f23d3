// Element-wise operations: dtypes meet, then the op is recorded.
#include "libmlclient/tensor/call.h"
#include "libmlclient/tensor/promote.h"
#include "ml/ops.h"

namespace ml {

using client::make_scalar;
using client::need;
using client::promote;
using client::record;
using client::to_floating;

namespace {

// What an operation wants of the dtype that its operands meet in.
DType as_met(DType dtype) { return dtype; }
DType numeric(DType dtype) { return dtype == DType::boolean ? DType::i64 : dtype; }

using Want = DType (*)(DType);

Tensor binary(const Op& op, Want want, const Tensor& a, const Tensor& b) {
  const DType dtype = want(promote(need(a, op.name)->type.dtype, need(b, op.name)->type.dtype, op.name));
  return record(op, {a.to(dtype), b.to(dtype)});
}
Tensor binary(const Op& op, Want want, const Tensor& a, Scalar b) {
  const DType dtype = want(promote(need(a, op.name)->type.dtype, b));
  return record(op, {a.to(dtype), make_scalar(dtype, b)});
}
Tensor binary(const Op& op, Want want, Scalar a, const Tensor& b) {
  const DType dtype = want(promote(need(b, op.name)->type.dtype, a));
  return record(op, {make_scalar(dtype, a), b.to(dtype)});
}

const Op& logic_or_bits(DType dtype, const char* logic, const char* bits) {
  return find_op(dtype == DType::boolean ? logic : bits);
}

Tensor unary(const Op& op, Want want, const Tensor& x) {
  return record(op, {x.to(want(need(x, op.name)->type.dtype))});
}

}  // namespace

#define ML_BINARY(name, row, want)                \
  Tensor name(const Tensor& a, const Tensor& b) { \
    static const Op& op = find_op(row);           \
    return binary(op, want, a, b);                \
  }                                               \
  Tensor name(const Tensor& a, Scalar b) {        \
    static const Op& op = find_op(row);           \
    return binary(op, want, a, b);                \
  }                                               \
  Tensor name(Scalar a, const Tensor& b) {        \
    static const Op& op = find_op(row);           \
    return binary(op, want, a, b);                \
  }
ML_BINARY(add, "add", numeric)
ML_BINARY(sub, "sub", numeric)
ML_BINARY(mul, "mul", numeric)
ML_BINARY(div, "div", to_floating)
ML_BINARY(fmod, "rem", numeric)
ML_BINARY(maximum, "maximum", numeric)
ML_BINARY(minimum, "minimum", numeric)
ML_BINARY(atan2, "atan2", to_floating)
ML_BINARY(eq, "eq", as_met)
ML_BINARY(ne, "ne", as_met)
ML_BINARY(lt, "lt", numeric)
ML_BINARY(le, "le", numeric)
ML_BINARY(gt, "gt", numeric)
ML_BINARY(ge, "ge", numeric)
ML_BINARY(shift_left, "shift_left", numeric)
ML_BINARY(shift_right, "shift_right", numeric)
#undef ML_BINARY

#define ML_LOGIC(name, logic, bits)                                                               \
  Tensor name(const Tensor& a, const Tensor& b) {                                                 \
    return binary(logic_or_bits(promote(a.dtype(), b.dtype(), bits), logic, bits), as_met, a, b); \
  }                                                                                               \
  Tensor name(const Tensor& a, Scalar b) {                                                        \
    return binary(logic_or_bits(promote(a.dtype(), b), logic, bits), as_met, a, b);               \
  }                                                                                               \
  Tensor name(Scalar a, const Tensor& b) {                                                        \
    return binary(logic_or_bits(promote(b.dtype(), a), logic, bits), as_met, a, b);               \
  }
ML_LOGIC(bit_and, "logical_and", "bit_and")
ML_LOGIC(bit_or, "logical_or", "bit_or")
ML_LOGIC(bit_xor, "logical_xor", "bit_xor")
#undef ML_LOGIC

namespace {

Tensor truncate(const Tensor& x) {
  if (!is_floating(x.dtype())) return x;
  return where(x < 0, ceil(x), floor(x));
}
// The row divides integers towards zero by itself.
template <class A, class B>
Tensor divide_towards_zero(const A& a, const B& b) {
  static const Op& op = find_op("div");
  return truncate(binary(op, numeric, a, b));
}

}  // namespace

Tensor trunc_div(const Tensor& a, const Tensor& b) { return divide_towards_zero(a, b); }
Tensor trunc_div(const Tensor& a, Scalar b) { return divide_towards_zero(a, b); }
Tensor trunc_div(Scalar a, const Tensor& b) { return divide_towards_zero(a, b); }

namespace {

const Op& pow_op() {
  static const Op& op = find_op("pow");
  return op;
}

}  // namespace

Tensor pow(const Tensor& a, const Tensor& b) { return binary(pow_op(), to_floating, a, b); }
Tensor pow(const Tensor& a, Scalar b) {
  if (b.number() == 2) return square(a.to(to_floating(promote(a.dtype(), b))));
  return binary(pow_op(), to_floating, a, b);
}
Tensor pow(Scalar a, const Tensor& b) { return binary(pow_op(), to_floating, a, b); }

#define ML_UNARY(name, want)              \
  Tensor name(const Tensor& x) {          \
    static const Op& op = find_op(#name); \
    return unary(op, want, x);            \
  }
ML_UNARY(neg, numeric)
ML_UNARY(abs, numeric)
ML_UNARY(sign, numeric)
ML_UNARY(exp, to_floating)
ML_UNARY(expm1, to_floating)
ML_UNARY(log, to_floating)
ML_UNARY(log1p, to_floating)
ML_UNARY(sqrt, to_floating)
ML_UNARY(rsqrt, to_floating)
ML_UNARY(reciprocal, to_floating)
ML_UNARY(sin, to_floating)
ML_UNARY(cos, to_floating)
ML_UNARY(tan, to_floating)
ML_UNARY(asin, to_floating)
ML_UNARY(acos, to_floating)
ML_UNARY(atan, to_floating)
ML_UNARY(sinh, to_floating)
ML_UNARY(cosh, to_floating)
ML_UNARY(tanh, to_floating)
ML_UNARY(erf, to_floating)
ML_UNARY(sigmoid, to_floating)
ML_UNARY(floor, to_floating)
ML_UNARY(ceil, to_floating)
ML_UNARY(round, to_floating)
ML_UNARY(is_nan, to_floating)
ML_UNARY(is_inf, to_floating)
ML_UNARY(relu, numeric)
ML_UNARY(silu, to_floating)
#undef ML_UNARY

Tensor operator-(const Tensor& x) { return neg(x); }

Tensor operator~(const Tensor& x) {
  return record(logic_or_bits(need(x, "not")->type.dtype, "logical_not", "bit_not"), {x});
}

Tensor square(const Tensor& x) { return mul(x, x); }

Tensor gelu(const Tensor& x, bool tanh_approximation) {
  return client::record_with({x.to(to_floating(x.dtype()))},
                             [&](std::span<const Var> v) { return gelu(v[0], tanh_approximation); });
}

Tensor clamp(const Tensor& x, Scalar low, Scalar high) { return minimum(maximum(x, low), high); }

namespace {

Tensor select(const Tensor& condition, const Tensor& on_true, const Tensor& on_false) {
  static const Op& op = find_op("select");
  return record(op, {condition, on_true, on_false});
}

}  // namespace

Tensor where(const Tensor& condition, const Tensor& on_true, const Tensor& on_false) {
  const DType dtype = promote(on_true.dtype(), on_false.dtype(), "where");
  return select(condition, on_true.to(dtype), on_false.to(dtype));
}
Tensor where(const Tensor& condition, const Tensor& on_true, Scalar on_false) {
  const DType dtype = promote(on_true.dtype(), on_false);
  return select(condition, on_true.to(dtype), make_scalar(dtype, on_false));
}
Tensor where(const Tensor& condition, Scalar on_true, const Tensor& on_false) {
  const DType dtype = promote(on_false.dtype(), on_true);
  return select(condition, make_scalar(dtype, on_true), on_false.to(dtype));
}

Tensor Tensor::to(DType dtype) const {
  if (need(*this, "to")->type.dtype == dtype) return *this;
  return client::record_with({*this}, [&](std::span<const Var> v) { return cast(v[0], dtype); });
}

}  // namespace ml
