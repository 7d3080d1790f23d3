// How far the vector functions are from the true value, in units of the result's last place.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "engine/backends/cpu/loop_tiles.h"

namespace ml::cpu {
namespace {

using codegen::LoopOp;

template <class T>
double ulps(T got, long double want) {
  const T rounded = static_cast<T>(want);
  if (std::isnan(want) || std::isinf(rounded) || std::isnan(got)) {
    return (std::isnan(want) && std::isnan(got)) || got == rounded ? 0 : 1e9;
  }
  const T next = std::nextafter(std::fabs(rounded), std::numeric_limits<T>::infinity());
  const long double unit = std::max<long double>(next - std::fabs(rounded), std::numeric_limits<T>::denorm_min());
  // Results that are subnormal may be flushed to zero.
  if (std::fabs(want) < std::numeric_limits<T>::min() && got == 0) return 0;
  return static_cast<double>(std::fabs(static_cast<long double>(got) - want) / unit);
}

struct Case {
  const char* name;
  LoopOp op;
  long double (*truth)(long double);
  double low, high;
  double limit_f32, limit_f64;
};

long double sigmoid(long double x) { return 1 / (1 + std::exp(-x)); }

const Case kCases[] = {
    {"exp", LoopOp::exp, std::exp, -103, 89, 2, 2},          {"expm1", LoopOp::expm1, std::expm1, -20, 88, 4, 2},
    {"log", LoopOp::log, std::log, 1e-38, 1e4, 4, 4},        {"log near 1", LoopOp::log, std::log, 0.5, 1.5, 4, 4},
    {"log1p", LoopOp::log1p, std::log1p, -0.999, 100, 4, 2}, {"sin", LoopOp::sin, std::sin, -100, 100, 4, 1},
    {"sin far", LoopOp::sin, std::sin, 900, 1e6, 4, 1},      {"cos", LoopOp::cos, std::cos, -100, 100, 4, 1},
    {"tan", LoopOp::tan, std::tan, -10, 10, 1, 1},           {"tanh", LoopOp::tanh, std::tanh, -20, 20, 4, 4},
    {"sigmoid", LoopOp::sigmoid, sigmoid, -80, 80, 4, 4},    {"erf", LoopOp::erf, std::erf, -5, 5, 4, 1},
    {"atan", LoopOp::atan, std::atan, -50, 50, 1, 1},        {"sinh", LoopOp::sinh, std::sinh, -20, 20, 1, 2},
    {"cosh", LoopOp::cosh, std::cosh, -20, 20, 1, 2},
};

template <class T>
void measure(const Case& c, DType dtype, double limit) {
  constexpr std::size_t kCount = 200'003;
  std::vector<T> x(kCount), y(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    x[i] = static_cast<T>(c.low + (c.high - c.low) * static_cast<double>(i) / (kCount - 1));
  }
  tile_function(c.op, dtype, dtype)(y.data(), x.data(), nullptr, nullptr, kCount);
  double worst = 0, at = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    const double error = ulps(y[i], c.truth(static_cast<long double>(x[i])));
    if (error > worst) worst = error, at = static_cast<double>(x[i]);
  }
  testing::Test::RecordProperty(std::string(c.name) + (sizeof(T) == 4 ? " f32" : " f64"), std::to_string(worst));
  EXPECT_LE(worst, limit) << c.name << " of " << dtype_name(dtype) << " at " << at;
}

TEST(LoopMath, IsWithinAFewUnitsInTheLastPlace) {
  for (const Case& c : kCases) {
    measure<float>(c, DType::f32, c.limit_f32);
    measure<double>(c, DType::f64, c.limit_f64);
  }
}

TEST(LoopMath, AnswersWhatTheLibraryDoesAtTheEdges) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x = {0.0f, -0.0f, 1.0f, -1.0f, -2.0f, 1e30f, -1e30f, kInf, -kInf, kNan};
  for (const Case& c : kCases) {
    std::vector<float> y(x.size());
    std::vector<double> wide(x.begin(), x.end()), wide_y(x.size());
    tile_function(c.op, DType::f32, DType::f32)(y.data(), x.data(), nullptr, nullptr, x.size());
    tile_function(c.op, DType::f64, DType::f64)(wide_y.data(), wide.data(), nullptr, nullptr, x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const long double truth = c.truth(static_cast<long double>(x[i]));
      EXPECT_LE(ulps(y[i], truth), 4) << c.name << "(" << x[i] << ") = " << y[i];
      EXPECT_LE(ulps(wide_y[i], truth), 4) << c.name << "(" << x[i] << ") = " << wide_y[i] << " in f64";
    }
  }
}

}  // namespace
}  // namespace ml::cpu
