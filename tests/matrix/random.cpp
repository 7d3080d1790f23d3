// What random rows promise as distributions. Philox's known answers are among the expected cases; here are large draws
// of fixed seeds, so that a bound holds always or never.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "engine/graph/build_nn.h"
#include "engine/graph/scalar.h"
#include "tests/matrix/targets.h"

namespace ml::test {
namespace {

constexpr std::int64_t kCount = 1 << 16;

HostTensor state(std::uint64_t key, std::uint64_t counter) {
  const std::uint64_t words[] = {key, counter};
  const auto bytes = std::as_bytes(std::span(words));
  return {DType::u64, {2}, {bytes.begin(), bytes.end()}};
}

// The outputs of a graph of a state (and maybe x), on the reference.
std::vector<HostTensor> draw(std::uint64_t key, const std::function<std::vector<Var>(Graph&, Var)>& build) {
  Graph graph;
  const std::vector<Var> results = build(graph, input(graph, "state", DType::u64, {2}));
  for (std::size_t i = 0; i < results.size(); ++i) output("y" + std::to_string(i), results[i]);
  const HostTensor from = state(key, 0);
  return run_graph(oracle(), graph, std::span(&from, 1)).outputs;
}

std::vector<double> doubles(const HostTensor& tensor) {
  std::vector<double> values;
  const std::size_t size = dtype_size(tensor.dtype);
  for (std::size_t at = 0; at < tensor.bytes.size(); at += size)
    values.push_back(load_double(tensor.dtype, &tensor.bytes[at]));
  return values;
}

// Mean of (x - center)^power.
double moment(const std::vector<double>& values, double center, int power) {
  double sum = 0;
  for (const double x : values) sum += std::pow(x - center, power);
  return sum / static_cast<double>(values.size());
}

// Kolmogorov and Smirnov's distance between what was drawn and a distribution, times the root of how much.
double distance(std::vector<double> values, const std::function<double(double)>& distribution) {
  std::ranges::sort(values);
  const auto n = static_cast<double>(values.size());
  double worst = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double expected = distribution(values[i]);
    worst = std::max({worst, std::fabs(expected - static_cast<double>(i) / n),
                      std::fabs(expected - static_cast<double>(i + 1) / n)});
  }
  return worst * std::sqrt(n);
}
constexpr double kUsual = 1.95;  // exceeded by one draw in a thousand

// Of neighbours at a distance in the sequence; the deviation of an estimate is 1 / sqrt(n).
double correlation(const std::vector<double>& values, std::size_t lag) {
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  double sum = 0;
  for (std::size_t i = lag; i < values.size(); ++i) sum += (values[i] - mean) * (values[i - lag] - mean);
  return sum / static_cast<double>(values.size()) / moment(values, mean, 2);
}

class Random : public testing::TestWithParam<DType> {};

TEST_P(Random, UniformNumbersAreUniform) {
  const DType dtype = GetParam();
  const std::vector<double> u = doubles(
      draw(11, [&](Graph&, Var s) -> std::vector<Var> { return {random_uniform(s, dtype, {kCount}).values}; })[0]);
  EXPECT_GE(*std::ranges::min_element(u), 0.0);
  EXPECT_LT(*std::ranges::max_element(u), 1.0);
  // The values of a dtype are 2^-p apart and take the lower end of their interval.
  const double step = dtype == DType::f16 ? 0x1p-11 : dtype == DType::bf16 ? 0x1p-8 : 0;
  EXPECT_NEAR(moment(u, 0, 1), 0.5 - step / 2, 4 / std::sqrt(12.0 * kCount));
  EXPECT_NEAR(moment(u, 0.5, 2), 1.0 / 12, 4 * std::sqrt(1.0 / 180 / kCount) + step);
  EXPECT_LT(distance(u, [](double x) { return x; }), kUsual + step * std::sqrt(double{kCount}));
  for (const std::size_t lag : {1, 2, 3, 4, 1024}) EXPECT_LT(std::fabs(correlation(u, lag)), 4 / std::sqrt(kCount));
}

TEST_P(Random, NormalNumbersAreNormal) {
  const DType dtype = GetParam();
  const std::vector<double> z = doubles(
      draw(12, [&](Graph&, Var s) -> std::vector<Var> { return {random_normal(s, dtype, {kCount}).values}; })[0]);
  EXPECT_NEAR(moment(z, 0, 1), 0, 4 / std::sqrt(kCount));
  EXPECT_NEAR(moment(z, 0, 2), 1, 4 * std::sqrt(2.0 / kCount));
  EXPECT_NEAR(moment(z, 0, 3), 0, 4 * std::sqrt(15.0 / kCount));
  EXPECT_NEAR(moment(z, 0, 4), 3, 4 * std::sqrt(96.0 / kCount));
  const double step = dtype == DType::f16 ? 0x1p-11 : dtype == DType::bf16 ? 0x1p-8 : 0;
  EXPECT_LT(distance(z, [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }),
            kUsual + step * std::sqrt(double{kCount}));
  for (const std::size_t lag : {std::size_t{1}, std::size_t{2}, std::size_t{kCount / 2}})
    EXPECT_LT(std::fabs(correlation(z, lag)), 4 / std::sqrt(kCount));
}

INSTANTIATE_TEST_SUITE_P(, Random, testing::Values(DType::f64, DType::f32, DType::f16, DType::bf16),
                         [](const auto& instance) { return std::string(dtype_name(instance.param)); });

TEST(RandomBits, EveryBitIsSetHalfOfTheTime) {
  const std::vector<double> words =
      doubles(draw(13, [](Graph&, Var s) -> std::vector<Var> { return {random_bits(s, {kCount}).values}; })[0]);
  for (int bit = 0; bit < 32; ++bit) {
    double set = 0;
    for (const double word : words) set += static_cast<double>(static_cast<std::uint32_t>(word) >> bit & 1);
    EXPECT_NEAR(set / kCount, 0.5, 4 * 0.5 / std::sqrt(kCount)) << "bit " << bit;
  }
}

TEST(RandomBits, DrawingTwiceIsDrawingAtOnce) {
  const std::vector<HostTensor> parts = draw(14, [](Graph&, Var s) -> std::vector<Var> {
    const auto [first, next] = random_bits(s, {64});
    const auto [second, last] = random_bits(next, {64});
    const Var both[] = {first, second};
    return {concat(both, 0), last};
  });
  const std::vector<HostTensor> whole = draw(14, [](Graph&, Var s) -> std::vector<Var> {
    const auto [bits, last] = random_bits(s, {128});
    return {bits, last};
  });
  EXPECT_EQ(parts[0].bytes, whole[0].bytes);
  EXPECT_EQ(parts[1].bytes, whole[1].bytes);
}

TEST(RandomBits, KeysShareNothing) {
  const auto words = [](std::uint64_t key) {
    return doubles(draw(
        key, [](Graph&, Var s) -> std::vector<Var> { return {random_uniform(s, DType::f64, {kCount}).values}; })[0]);
  };
  const std::vector<double> a = words(1), b = words(2);
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - 0.5) * (b[i] - 0.5) * 12;
  EXPECT_LT(std::fabs(sum / kCount), 4 / std::sqrt(kCount));
}

TEST(Dropout, DropsItsShareAndKeepsTheMean) {
  constexpr double kRate = 0.3;
  const std::vector<HostTensor> results = draw(15, [](Graph& graph, Var s) -> std::vector<Var> {
    const Dropout dropped = dropout(full(graph, DType::f64, {kCount}, 1), s, kRate);
    return {dropped.y, dropped.mask};
  });
  const std::vector<double> y = doubles(results[0]), mask = doubles(results[1]);
  const double deviation = std::sqrt(kRate * (1 - kRate) / kCount);
  EXPECT_NEAR(moment(mask, 0, 1), 1 - kRate, 4 * deviation);
  EXPECT_NEAR(moment(y, 0, 1), 1, 4 * deviation / (1 - kRate));
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i] != 0, mask[i] != 0) << i;
}

}  // namespace
}  // namespace ml::test
