#include "engine/graph/ops/activation.h"
#include "tests/matrix/sample.h"

namespace ml::test {
namespace {

std::vector<Sample> unary(const std::function<AttributesPtr(DType)>& attributes = {}) {
  return {
      {"scalar", {{kScalar}}, attributes}, {"empty", {{kEmpty}}, attributes},
      {"odd", {{kOdd}}, attributes},       {"special", {{{131}, Fill::special}}, attributes},
      {"large", {{kLarge}}, attributes},
  };
}

std::vector<Sample> binary(Fill second = Fill::any) {
  return {
      {"scalars", {{kScalar}, {kScalar, second}}, {}},
      {"empty", {{kEmpty}, {{3, 1}, second}}, {}},
      {"odd", {{kOdd}, {kOdd, second}}, {}},
      {"with a scalar", {{kOdd}, {kScalar, second}}, {}},
      {"both repeated", {{{4, 1, 5}}, {{3, 1}, second}}, {}},
      {"new dimensions", {{{7}}, {{2, 3, 4, 7}, second}}, {}},
      {"special", {{{17, 19}, Fill::special}, {{17, 19}, second == Fill::any ? Fill::special : second}}, {}},
      {"large", {{kLarge}, {kLarge, second}}, {}},
      {"large rows", {{{67, 1031}}, {{1031}, second}}, {}},
      {"large columns", {{{67, 1}}, {{67, 1031}, second}}, {}},
  };
}

std::vector<Sample> select() {
  constexpr DType kBool = DType::boolean;
  return {
      {"scalars", {{kScalar, Fill::any, kBool}, {kScalar}, {kScalar}}, {}},
      {"empty", {{{3, 1}, Fill::any, kBool}, {kEmpty}, {kScalar}}, {}},
      {"odd", {{kOdd, Fill::any, kBool}, {kOdd}, {kOdd}}, {}},
      {"all repeated", {{{4, 1, 1}, Fill::any, kBool}, {{3, 1}}, {{5}}}, {}},
      {"special", {{{131}, Fill::any, kBool}, {{131}, Fill::special}, {{131}, Fill::special}}, {}},
      {"large", {{kLarge, Fill::any, kBool}, {kLarge}, {kScalar}}, {}},
  };
}

std::vector<Sample> cast() {
  std::vector<Sample> samples;
  for (int number = 1; number <= kDTypeCount; ++number) {
    const auto to = static_cast<DType>(number);
    const auto attributes = with<DTypeAttributes>([to](DTypeAttributes& a) { a.dtype = to; });
    for (Sample& sample : unary(attributes)) {
      if (is_narrow(to) && sample.label == "scalar") continue;
      sample.label += " to " + std::string(dtype_name(to));
      samples.push_back(std::move(sample));
    }
  }
  return samples;
}

std::vector<Sample> gelu() {
  std::vector<Sample> samples = unary();
  for (Sample& sample : unary(with<GeluAttributes>([](GeluAttributes& a) { a.tanh_approximation = true; }))) {
    sample.label += ", by tanh";
    samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace

std::vector<OpSamples> elementwise_samples() {
  std::vector<OpSamples> all;
  for (const char* op : {"neg",         "abs",        "sign",   "exp",    "expm1",   "log",   "log1p",     "sqrt",
                         "rsqrt",       "reciprocal", "sin",    "cos",    "tan",     "asin",  "acos",      "atan",
                         "sinh",        "cosh",       "tanh",   "erf",    "sigmoid", "floor", "ceil",      "round",
                         "logical_not", "bit_not",    "is_nan", "is_inf", "relu",    "silu",  "hard_swish"})
    all.push_back({op, unary()});
  for (const char* op : {"add",         "sub",   "mul",     "div",    "rem",     "pow",         "maximum",
                         "minimum",     "atan2", "bit_and", "bit_or", "bit_xor", "logical_and", "logical_or",
                         "logical_xor", "eq",    "ne",      "lt",     "le",      "gt",          "ge"})
    all.push_back({op, binary()});
  for (const char* op : {"shift_left", "shift_right"}) all.push_back({op, binary(Fill::shift)});
  all.push_back({"select", select()});
  all.push_back({"cast", cast()});
  all.push_back({"gelu", gelu()});
  return all;
}

}  // namespace ml::test
