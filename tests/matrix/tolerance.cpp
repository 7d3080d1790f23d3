#include "tests/matrix/tolerance.h"

#include <algorithm>
#include <cmath>

#include "engine/graph/scalar.h"

namespace ml::test {
namespace {

double eps(DType dtype) {
  switch (dtype) {
    case DType::f64: return 0x1p-52;
    case DType::f32: return 0x1p-23;
    case DType::f16: return 0x1p-10;
    default: return 0x1p-7;  // bf16
  }
}
double smallest_normal(DType dtype) {
  return dtype == DType::f64 ? 0x1p-1022 : dtype == DType::f16 ? 0x1p-14 : 0x1p-126;
}

enum class Rounds {
  once,         // the exact result rounded, which f32 arithmetic gives too: no freedom at all
  function,     // exp and the like: vector libraries promise a few units in the last place
  periodic,     // the same, but near a zero only the absolute error is small
  sum,          // the order of additions is free
  product,      // each factor rounds
  composition,  // several of the above in a row
};

struct Class {
  std::string_view op;
  Rounds rounds;
};
constexpr Class kClasses[] = {
    {"exp", Rounds::function},
    {"expm1", Rounds::function},
    {"log", Rounds::function},
    {"log1p", Rounds::function},
    {"rsqrt", Rounds::function},
    {"sin", Rounds::periodic},
    {"cos", Rounds::periodic},
    {"tan", Rounds::periodic},
    {"asin", Rounds::function},
    {"acos", Rounds::function},
    {"atan", Rounds::function},
    {"sinh", Rounds::function},
    {"cosh", Rounds::function},
    {"tanh", Rounds::function},
    {"erf", Rounds::function},
    {"sigmoid", Rounds::function},
    {"pow", Rounds::function},
    {"atan2", Rounds::function},
    {"reduce_sum", Rounds::sum},
    {"reduce_prod", Rounds::product},
    {"cumsum", Rounds::sum},
    {"scatter", Rounds::sum},
    {"scatter_elements", Rounds::sum},
    {"matmul", Rounds::sum},
    {"convolution", Rounds::sum},
    {"convolution_input_gradient", Rounds::sum},
    {"convolution_weight_gradient", Rounds::sum},
    {"reduce_mean", Rounds::sum},
    {"average_pool", Rounds::sum},
    {"average_pool_gradient", Rounds::sum},
    {"relu", Rounds::once},
    {"quantize", Rounds::once},
    {"dequantize", Rounds::once},
    {"top_k", Rounds::once},
    {"max_pool", Rounds::once},
    {"max_pool_gradient", Rounds::sum},
    {"max_pool_select", Rounds::once},
};

Rounds rounds(const Op& op) {
  const auto found = std::ranges::find(kClasses, op.name, &Class::op);
  if (found != std::end(kClasses)) return found->rounds;
  return op.kind == OpKind::composite ? Rounds::composition : Rounds::once;
}

}  // namespace

Tolerance tolerance_of(const Op& op, DType dtype, double terms) {
  if (!is_floating(dtype)) return {};
  // 16-bit results are computed in f32, where an error that is far below their last place may still tip the rounding.
  const bool narrow = dtype_size(dtype) == 2;
  switch (rounds(op)) {
    case Rounds::once: return {};
    case Rounds::function: return {.relative = narrow ? 1.0 : 4.0};
    case Rounds::periodic: return {.relative = narrow ? 1.0 : 4.0, .of_largest = narrow ? 0.01 : 2.0};
    // Additions in any order are off by at most (terms - 1) eps S; their errors have signs, so about the root of that.
    case Rounds::sum: return {.relative = 1, .of_sum = 4 + 2 * std::sqrt(terms)};
    case Rounds::product: return {.relative = narrow ? 2.0 : 2 + terms};
    case Rounds::composition: break;
  }
  return {.relative = 8, .of_largest = narrow ? 8.0 : 16.0};
}

double largest_magnitude(const HostTensor& tensor) {
  double largest = 0;
  if (!is_floating(tensor.dtype)) return largest;
  const std::size_t size = dtype_size(tensor.dtype);
  for (std::size_t at = 0; at < tensor.bytes.size(); at += size) {
    const double magnitude = std::fabs(load_double(tensor.dtype, &tensor.bytes[at]));
    if (magnitude < 1e6) largest = std::max(largest, magnitude);
  }
  return largest;
}

std::string difference(const HostTensor& got, const HostTensor& expected, const Tolerance& tolerance, double largest,
                       const HostTensor* sums) {
  if (got.dtype != expected.dtype || got.shape != expected.shape) {
    return "is " + std::string(dtype_name(got.dtype)) + got.shape.str() + " instead of " +
           std::string(dtype_name(expected.dtype)) + expected.shape.str();
  }
  if (got.bytes == expected.bytes) return {};
  const DType dtype = got.dtype;
  const std::size_t size = dtype_size(dtype);
  const std::size_t count = got.bytes.size() / size;
  const auto value = [size](const HostTensor& tensor, std::size_t i) {
    return load_double(tensor.dtype, &tensor.bytes[i * size]);
  };
  std::size_t wrong = 0;
  std::string first;
  for (std::size_t i = 0; i < count; ++i) {
    if (std::equal(&got.bytes[i * size], &got.bytes[i * size] + size, &expected.bytes[i * size])) continue;
    const double a = value(got, i), b = value(expected, i);
    if (is_floating(dtype)) {
      if (a == b || (std::isnan(a) && std::isnan(b))) continue;
      double allowed = eps(dtype) * (tolerance.relative * std::fabs(b) + tolerance.of_largest * largest);
      if (sums) allowed += tolerance.of_sum * eps(dtype_info(dtype).compute) * value(*sums, i);
      if (tolerance.relative > 0) allowed += eps(dtype) * smallest_normal(dtype);
      if (std::fabs(a - b) <= allowed) continue;
    }
    if (wrong++ == 0) {
      char text[128];
      std::snprintf(text, sizeof text, "element %zu is %.17g instead of %.17g", i, a, b);
      first = text;
    }
  }
  if (wrong == 0) return {};
  return first + " (" + std::to_string(wrong) + " of " + std::to_string(count) + " are wrong)";
}

}  // namespace ml::test
