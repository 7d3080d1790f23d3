#include <cmath>

#include "engine/backends/reference/kernel.h"

namespace ml::reference {
namespace {

// The element-wise forms, by what the operands are computed in. `f` is a lambda on doubles, or a generic one.
template <class In, class Out, auto f>
void unary(const Call& call) {
  const std::vector<In> x = load<In>(call.inputs[0]);
  std::vector<Out> y(x.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = f(x[i]);
  store(call.outputs[0], y);
}
template <class In, class Out, auto f>
void binary(const Call& call) {
  const Shape& shape = call.outputs[0].shape();
  const std::vector<In> a = broadcast(load<In>(call.inputs[0]), call.inputs[0].shape(), shape);
  const std::vector<In> b = broadcast(load<In>(call.inputs[1]), call.inputs[1].shape(), shape);
  std::vector<Out> y(a.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = f(a[i], b[i]);
  store(call.outputs[0], y);
}

template <auto f>
constexpr auto floating = unary<double, double, f>;
template <auto f>
constexpr auto classify = unary<double, std::uint64_t, f>;
template <auto f>
constexpr auto floating_pair = binary<double, double, f>;
template <auto f>
constexpr auto logic = binary<std::uint64_t, std::uint64_t, f>;

template <auto f>
void number(const Call& call) {
  with_compute_type(call.inputs[0].dtype(), [&call](auto zero) { unary<decltype(zero), decltype(zero), f>(call); });
}
template <auto f>
void number_pair(const Call& call) {
  with_compute_type(call.inputs[0].dtype(), [&call](auto zero) { binary<decltype(zero), decltype(zero), f>(call); });
}
template <auto f>
void compare(const Call& call) {
  with_compute_type(call.inputs[0].dtype(), [&call](auto zero) { binary<decltype(zero), std::uint64_t, f>(call); });
}
// Integers alone: f is never asked about a double.
template <auto f>
void integer_pair(const Call& call) {
  if (is_signed(call.inputs[0].dtype()))
    binary<std::int64_t, std::int64_t, f>(call);
  else
    binary<std::uint64_t, std::uint64_t, f>(call);
}

template <class T>
T negative(T x) {
  if constexpr (std::is_floating_point_v<T>)
    return -x;
  else
    return sub(T{0}, x);
}
template <class T>
T absolute(T x) {
  if constexpr (std::is_floating_point_v<T>)
    return std::fabs(x);
  else
    return x < 0 ? negative(x) : x;
}
template <class T>
T sign(T x) {
  if (is_nan(x)) return x;
  return x > 0 ? T{1} : x < 0 ? negative(T{1}) : T{0};
}

// Truncating, 0 for a zero divisor. Dividing by -1 is negating, which wraps where the quotient has no room.
template <class T>
T divide(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return a / b;
  if (b == 0) return 0;
  if (std::is_signed_v<T> && add(b, T{1}) == 0) return negative(a);
  return a / b;
}
template <class T>
T remainder(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    return std::fmod(a, b);
  else
    return b == 0 ? T{0} : sub(a, mul(divide(a, b), b));
}
template <class T>
T larger(T a, T b) {
  if (is_nan(a)) return a;
  return is_nan(b) || b > a ? b : a;
}
template <class T>
T smaller(T a, T b) {
  if (is_nan(a)) return a;
  return is_nan(b) || b < a ? b : a;
}

// An amount outside of [0, 64) shifts everything out; narrower types lose the rest of their bits on storing.
template <class T>
T left(T value, T amount) {
  if (amount < 0 || amount >= 64) return 0;
  return static_cast<T>(static_cast<std::uint64_t>(value) << amount);
}
template <class T>
T right(T value, T amount) {
  if (amount < 0 || amount >= 64) return value < 0 ? negative(T{1}) : T{0};
  return value >> amount;
}

void select(const Call& call) {
  const Shape& shape = call.outputs[0].shape();
  const auto condition = broadcast(load_bits(call.inputs[0]), call.inputs[0].shape(), shape);
  const auto on_true = broadcast(load_bits(call.inputs[1]), call.inputs[1].shape(), shape);
  const auto on_false = broadcast(load_bits(call.inputs[2]), call.inputs[2].shape(), shape);
  std::vector<std::uint64_t> y(condition.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = condition[i] ? on_true[i] : on_false[i];
  store_bits(call.outputs[0], y);
}

constexpr Row kRows[] = {
    {"neg", number<[](auto x) { return negative(x); }>},
    {"abs", number<[](auto x) { return absolute(x); }>},
    {"sign", number<[](auto x) { return sign(x); }>},
    {"exp", floating<[](double x) { return std::exp(x); }>},
    {"expm1", floating<[](double x) { return std::expm1(x); }>},
    {"log", floating<[](double x) { return std::log(x); }>},
    {"log1p", floating<[](double x) { return std::log1p(x); }>},
    {"sqrt", floating<[](double x) { return std::sqrt(x); }>},
    {"rsqrt", floating<[](double x) { return 1 / std::sqrt(x); }>},
    {"reciprocal", floating<[](double x) { return 1 / x; }>},
    {"sin", floating<[](double x) { return std::sin(x); }>},
    {"cos", floating<[](double x) { return std::cos(x); }>},
    {"tan", floating<[](double x) { return std::tan(x); }>},
    {"asin", floating<[](double x) { return std::asin(x); }>},
    {"acos", floating<[](double x) { return std::acos(x); }>},
    {"atan", floating<[](double x) { return std::atan(x); }>},
    {"sinh", floating<[](double x) { return std::sinh(x); }>},
    {"cosh", floating<[](double x) { return std::cosh(x); }>},
    {"tanh", floating<[](double x) { return std::tanh(x); }>},
    {"erf", floating<[](double x) { return std::erf(x); }>},
    {"sigmoid", floating<[](double x) { return 1 / (1 + std::exp(-x)); }>},
    {"floor", floating<[](double x) { return std::floor(x); }>},
    {"ceil", floating<[](double x) { return std::ceil(x); }>},
    {"round", floating<[](double x) { return std::nearbyint(x); }>},
    {"logical_not", unary<std::uint64_t, std::uint64_t, [](std::uint64_t x) { return x == 0; }>},
    {"bit_not", unary<std::uint64_t, std::uint64_t, [](std::uint64_t x) { return ~x; }>},
    {"is_nan", classify<[](double x) { return std::isnan(x); }>},
    {"is_inf", classify<[](double x) { return std::isinf(x); }>},

    {"add", number_pair<[](auto a, auto b) { return add(a, b); }>},
    {"sub", number_pair<[](auto a, auto b) { return sub(a, b); }>},
    {"mul", number_pair<[](auto a, auto b) { return mul(a, b); }>},
    {"div", number_pair<[](auto a, auto b) { return divide(a, b); }>},
    {"rem", number_pair<[](auto a, auto b) { return remainder(a, b); }>},
    {"pow", floating_pair<[](double a, double b) { return std::pow(a, b); }>},
    {"maximum", number_pair<[](auto a, auto b) { return larger(a, b); }>},
    {"minimum", number_pair<[](auto a, auto b) { return smaller(a, b); }>},
    {"atan2", floating_pair<[](double a, double b) { return std::atan2(a, b); }>},
    {"bit_and", logic<[](std::uint64_t a, std::uint64_t b) { return a & b; }>},
    {"bit_or", logic<[](std::uint64_t a, std::uint64_t b) { return a | b; }>},
    {"bit_xor", logic<[](std::uint64_t a, std::uint64_t b) { return a ^ b; }>},
    {"shift_left", integer_pair<[](auto a, auto b) { return left(a, b); }>},
    {"shift_right", integer_pair<[](auto a, auto b) { return right(a, b); }>},
    {"logical_and", logic<[](std::uint64_t a, std::uint64_t b) { return a & b; }>},
    {"logical_or", logic<[](std::uint64_t a, std::uint64_t b) { return a | b; }>},
    {"logical_xor", logic<[](std::uint64_t a, std::uint64_t b) { return a ^ b; }>},
    {"eq", compare<[](auto a, auto b) { return a == b; }>},
    {"ne", compare<[](auto a, auto b) { return a != b; }>},
    {"lt", compare<[](auto a, auto b) { return a < b; }>},
    {"le", compare<[](auto a, auto b) { return a <= b; }>},
    {"gt", compare<[](auto a, auto b) { return (a > b); }>},
    {"ge", compare<[](auto a, auto b) { return a >= b; }>},

    {"select", select},
    {"cast", number<[](auto x) { return x; }>},  // converting is what loading and storing do
};

}  // namespace

std::span<const Row> elementwise_rows() { return kRows; }

}  // namespace ml::reference
