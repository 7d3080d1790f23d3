// What softmax, losses, norms, random numbers, optimizers and control flow compute, against the formulas written out:
// the matrix compares devices with each other and with decompositions, and so would not notice a wrong decomposition.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "engine/graph/build_control.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/ops/random.h"
#include "engine/runtime/evaluate.h"
#include "ml/error.h"

namespace ml::test {
namespace {

using Doubles = std::vector<double>;

template <class T>
HostTensor tensor(DType dtype, const Shape& shape, const std::vector<T>& values) {
  HostTensor result{dtype, shape, std::vector<std::byte>(values.size() * sizeof(T))};
  if (!values.empty()) std::memcpy(result.bytes.data(), values.data(), result.bytes.size());
  return result;
}
HostTensor doubles(const Shape& shape, const Doubles& values) { return tensor(DType::f64, shape, values); }

template <class T>
std::vector<T> values_of(const HostTensor& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

// Runs what `build` makes of inputs like `tensors` on the reference device.
using Build = std::vector<Var> (*)(Graph& graph, std::span<const Var> inputs);
std::vector<HostTensor> run(std::span<const HostTensor> tensors, Build build) {
  Graph graph;
  std::vector<Var> inputs;
  for (const HostTensor& t : tensors)
    inputs.push_back(input(graph, "x" + std::to_string(inputs.size()), t.dtype, t.shape));
  std::size_t number = 0;
  for (const Var& result : build(graph, inputs)) output("y" + std::to_string(number++), result);
  verify(graph);
  const std::unique_ptr<Device> device = create_reference_device();
  return evaluate(graph, *device, tensors);
}
std::vector<HostTensor> run(std::initializer_list<HostTensor> tensors, Build build) {
  return run(std::span(tensors.begin(), tensors.size()), build);
}

void expect_near(const HostTensor& got, const Doubles& wanted, double tolerance = 1e-12) {
  const Doubles values = values_of<double>(got);
  ASSERT_EQ(values.size(), wanted.size());
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], wanted[i], tolerance) << "element " << i;
}

constexpr std::uint64_t kKey = 0x123456789abcdef0, kCounter = 0xfffffffffffffffe;  // wraps within a few blocks
HostTensor state() { return tensor<std::uint64_t>(DType::u64, {2}, {kKey, kCounter}); }
std::uint32_t word(std::uint64_t i) { return random_block(kKey, kCounter, i / 4)[i % 4]; }

TEST(RandomNumbers, AreTheWordsOfTheBlocksInOrder) {
  const auto results = run({state()}, [](Graph&, std::span<const Var> x) -> std::vector<Var> {
    const auto [bits, next] = random_bits(x[0], {3, 5});
    return {bits, next};
  });
  const auto bits = values_of<std::uint32_t>(results[0]);
  for (std::size_t i = 0; i < 15; ++i) EXPECT_EQ(bits[i], word(i)) << i;
  EXPECT_EQ(values_of<std::uint64_t>(results[1]), (std::vector<std::uint64_t>{kKey, kCounter + 4}));
}

TEST(RandomNumbers, AreUniformFractionsOfTheUpperBits) {
  const auto results = run({state()}, [](Graph&, std::span<const Var> x) -> std::vector<Var> {
    return {random_uniform(x[0], DType::f32, {9}).values, random_uniform(x[0], DType::f64, {3, 3}).values,
            cast(random_uniform(x[0], DType::f16, {9}).values, DType::f32),
            cast(random_uniform(x[0], DType::bf16, {9}).values, DType::f32)};
  });
  for (std::uint64_t i = 0; i < 9; ++i) {
    EXPECT_EQ(values_of<float>(results[0])[i], std::ldexp(static_cast<float>(word(i) >> 8), -24));
    const std::uint64_t both = word(2 * i) | std::uint64_t{word(2 * i + 1)} << 32;
    EXPECT_EQ(values_of<double>(results[1])[i], std::ldexp(static_cast<double>(both >> 11), -53));
    EXPECT_EQ(values_of<float>(results[2])[i], std::ldexp(static_cast<float>(word(i) >> 21), -11));
    EXPECT_EQ(values_of<float>(results[3])[i], std::ldexp(static_cast<float>(word(i) >> 24), -8));
  }
}

TEST(RandomNumbers, AreNormalByBoxAndMuller) {
  const auto results = run({state()}, [](Graph&, std::span<const Var> x) -> std::vector<Var> {
    const auto [values, next] = random_normal(x[0], DType::f64, {5});
    const auto [none, same] = random_normal(x[0], DType::f64, {2, 0});
    return {values, next, none, same};
  });
  const auto fraction = [](std::uint64_t i) {
    const std::uint64_t both = word(2 * i) | std::uint64_t{word(2 * i + 1)} << 32;
    return std::ldexp(static_cast<double>(both >> 11), -53);
  };
  Doubles wanted;
  for (std::uint64_t i = 0; i < 5; ++i) {
    const std::uint64_t pair = i % 3;
    const double radius = std::sqrt(-2 * std::log(1 - fraction(pair)));
    const double angle = 2 * std::numbers::pi * fraction(3 + pair);
    wanted.push_back(radius * (i < 3 ? std::cos(angle) : std::sin(angle)));
  }
  expect_near(results[0], wanted, 1e-14);
  EXPECT_EQ(values_of<std::uint64_t>(results[1])[1], kCounter + 3);  // 6 fractions, 12 words
  EXPECT_EQ(values_of<std::uint64_t>(results[3])[1], kCounter);
}

TEST(RandomNumbers, HaveTheMomentsOfANormalDistribution) {
  const auto results = run({state()}, [](Graph&, std::span<const Var> x) -> std::vector<Var> {
    const Var z = cast(random_normal(x[0], DType::f32, {100001}).values, DType::f64);
    return {reduce_mean(z), reduce_mean(z * z), reduce_mean(z * z * z * z)};
  });
  // Five standard errors.
  EXPECT_NEAR(values_of<double>(results[0])[0], 0, 0.016);
  EXPECT_NEAR(values_of<double>(results[1])[0], 1, 0.023);
  EXPECT_NEAR(values_of<double>(results[2])[0], 3, 0.16);
}

TEST(Dropout, KeepsWhatIsNotBelowTheRate) {
  const Doubles x{1, 2, 3, 4, 5, 6};
  const auto results = run({doubles({6}, x), state()}, [](Graph&, std::span<const Var> v) -> std::vector<Var> {
    const Dropout half = dropout(v[0], v[1], 0.5);
    return {half.y, half.mask, half.state, dropout(v[0], v[1], 0).y, dropout(v[0], v[1], 1).y};
  });
  Doubles wanted;
  for (std::size_t i = 0; i < 6; ++i) {
    const bool stays = std::ldexp(static_cast<float>(word(i) >> 8), -24) >= 0.5F;
    EXPECT_EQ(values_of<std::uint8_t>(results[1])[i], stays ? 1 : 0);
    wanted.push_back(stays ? 2 * x[i] : 0);
  }
  expect_near(results[0], wanted, 0);
  EXPECT_EQ(values_of<std::uint64_t>(results[2])[1], kCounter + 2);
  expect_near(results[3], x, 0);
  expect_near(results[4], Doubles(6, 0.0), 0);
}

TEST(Softmax, SurvivesLargeLogits) {
  const auto results = run({doubles({3}, {1000, 1001, 1003})}, [](Graph&, std::span<const Var> x) -> std::vector<Var> {
    return {softmax(x[0]), log_softmax(x[0])};
  });
  const double sum = std::exp(-3) + std::exp(-2) + 1;
  expect_near(results[0], {std::exp(-3) / sum, std::exp(-2) / sum, 1 / sum});
  expect_near(results[1], {-3 - std::log(sum), -2 - std::log(sum), -std::log(sum)});
}

TEST(CrossEntropy, IsTheLogarithmOfTheLabelsProbability) {
  const auto results = run({doubles({2, 3}, {1, 2, 4, 0, -1, 900}), tensor<std::int32_t>(DType::i32, {2}, {1, 2})},
                           [](Graph&, std::span<const Var> x) -> std::vector<Var> {
                             const auto [loss, log_sum_exp] = cross_entropy(x[0], x[1]);
                             return {loss, log_sum_exp};
                           });
  const double lse = std::log(std::exp(1) + std::exp(2) + std::exp(4));
  expect_near(results[0], {lse - 2, 0});
  expect_near(results[1], {lse, 900});
}

TEST(CrossEntropy, ReportsLabelsThatAreNoClass) {
  for (const std::int64_t label : {std::int64_t{3}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()}) {
    EXPECT_THROW(
        run({doubles({1, 3}, {1, 2, 4}), tensor<std::int64_t>(DType::i64, {1}, {label})},
            [](Graph&, std::span<const Var> x) -> std::vector<Var> { return {cross_entropy(x[0], x[1]).loss}; }),
        Error)
        << label;
  }
}

// Mean and biased variance of the elements at `first`, `first` + `step`, ...
std::pair<double, double> moments(const Doubles& x, const std::vector<std::size_t>& at) {
  double mean = 0, variance = 0;
  for (const std::size_t i : at) mean += x[i] / static_cast<double>(at.size());
  for (const std::size_t i : at) variance += (x[i] - mean) * (x[i] - mean) / static_cast<double>(at.size());
  return {mean, variance};
}

// [2, 4, 2] with the elements that each norm averages together.
const Doubles kImage{0.5, -1, 2, 3, 0, 1, -2, 4, 1, 1.5, -3, 2.5, 0.25, 2, 5, -1};
constexpr double kEpsilon = 1e-3;

void expect_normalized(const HostTensor& y, const HostTensor& mean, const HostTensor& rstd,
                       const std::vector<std::vector<std::size_t>>& rows) {
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto [m, v] = moments(kImage, rows[r]);
    EXPECT_NEAR(values_of<double>(mean)[r], m, 1e-12);
    EXPECT_NEAR(values_of<double>(rstd)[r], 1 / std::sqrt(v + kEpsilon), 1e-12);
    for (const std::size_t i : rows[r]) {
      const auto channel = static_cast<double>(i / 2 % 4);  // scale 1 + channel, bias -channel
      const double normal = (kImage[i] - m) / std::sqrt(v + kEpsilon);
      EXPECT_NEAR(values_of<double>(y)[i], normal * (1 + channel) - channel, 1e-12) << i;
    }
  }
}

TEST(Norms, NormalizeOverWhatTheirNamesSay) {
  const auto results = run({doubles({2, 4, 2}, kImage), doubles({4}, {1, 2, 3, 4}), doubles({4}, {0, -1, -2, -3}),
                            doubles({4, 2}, {1, 1, 2, 2, 3, 3, 4, 4}), doubles({4, 2}, {0, 0, -1, -1, -2, -2, -3, -3})},
                           [](Graph&, std::span<const Var> x) -> std::vector<Var> {
                             const BatchNorm b = batch_norm(x[0], x[1], x[2], kEpsilon);
                             const Norm g = group_norm(x[0], 2, x[1], x[2], kEpsilon);
                             const Norm l = layer_norm(x[0], x[3], x[4], 1, kEpsilon);
                             const Var given = batch_norm_inference(x[0], b.mean, b.variance, x[1], x[2], kEpsilon);
                             return {b.y, b.mean, b.rstd, g.y, g.mean, g.rstd, l.y, l.mean, l.rstd, given};
                           });
  expect_normalized(results[0], results[1], results[2], {{0, 1, 8, 9}, {2, 3, 10, 11}, {4, 5, 12, 13}, {6, 7, 14, 15}});
  expect_normalized(results[3], results[4], results[5], {{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}, {12, 13, 14, 15}});
  expect_normalized(results[6], results[7], results[8], {{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12, 13, 14, 15}});
  expect_near(results[9], values_of<double>(results[0]));
}

// torch.optim.SGD(momentum=0.9, weight_decay=0.01, nesterov=...) from a velocity of its own.
TEST(Optimizers, SgdStepsAsPyTorchDoes) {
  const auto results =
      run({doubles({2}, {1, -2}), doubles({2}, {0.5, 0.25}), doubles({2}, {0.1, -0.3}), doubles({}, {0.1})},
          [](Graph&, std::span<const Var> x) -> std::vector<Var> {
            SgdAttributes attributes;
            attributes.momentum = 0.9;
            attributes.weight_decay = 0.01;
            const auto plain = sgd_momentum_update(x[0], x[1], x[2], x[3], attributes);
            attributes.nesterov = true;
            const auto nesterov = sgd_momentum_update(x[0], x[1], x[2], x[3], attributes);
            return {plain.parameter, plain.velocity, nesterov.parameter};
          });
  const double g[] = {0.5 + 0.01, 0.25 - 0.02};
  const double v[] = {0.9 * 0.1 + g[0], 0.9 * -0.3 + g[1]};
  expect_near(results[0], {1 - 0.1 * v[0], -2 - 0.1 * v[1]});
  expect_near(results[1], {v[0], v[1]});
  expect_near(results[2], {1 - 0.1 * (g[0] + 0.9 * v[0]), -2 - 0.1 * (g[1] + 0.9 * v[1])});
}

// torch.optim.Adam and AdamW, third step.
TEST(Optimizers, AdamStepsAsPyTorchDoes) {
  const auto results = run({doubles({1}, {1}), doubles({1}, {0.5}), doubles({1}, {0.1}), doubles({1}, {0.02}),
                            doubles({}, {0.01}), tensor<std::int64_t>(DType::i64, {}, {3})},
                           [](Graph&, std::span<const Var> x) -> std::vector<Var> {
                             AdamAttributes attributes;
                             attributes.weight_decay = 0.1;
                             const auto adam = adam_update(x[0], x[1], x[2], x[3], x[4], x[5], attributes);
                             attributes.decoupled = true;
                             const auto adamw = adam_update(x[0], x[1], x[2], x[3], x[4], x[5], attributes);
                             return {adam.parameter, adam.m, adam.v, adamw.parameter};
                           });
  const auto step = [](double parameter, double gradient) {
    const double m = 0.9 * 0.1 + 0.1 * gradient, v = 0.999 * 0.02 + 0.001 * gradient * gradient;
    const double size = 0.01 / (1 - std::pow(0.9, 3)), root = std::sqrt(1 - std::pow(0.999, 3));
    return std::array{parameter - size * m / (std::sqrt(v) / root + 1e-8), m, v};
  };
  const auto adam = step(1, 0.5 + 0.1), adamw = step(1 - 0.01 * 0.1, 0.5);
  expect_near(results[0], {adam[0]});
  expect_near(results[1], {adam[1]});
  expect_near(results[2], {adam[2]});
  expect_near(results[3], {adamw[0]});
}

GraphPtr body(std::initializer_list<TensorType> types, std::vector<Var> (*build)(std::span<const Var>)) {
  auto graph = std::make_shared<Graph>();
  std::vector<Var> inputs;
  for (const TensorType& type : types)
    inputs.push_back(input(*graph, "x" + std::to_string(inputs.size()), type.dtype, type.shape));
  std::size_t number = 0;
  for (const Var& result : build(inputs)) output("y" + std::to_string(number++), result);
  return graph;
}
const TensorType kNumber{DType::f64, {}};

TEST(Control, WhileRunsUntilItsConditionFails) {
  const auto results = run({doubles({}, {1}), doubles({}, {100})}, [](Graph&, std::span<const Var> x) {
    return while_loop(
        body({kNumber, kNumber}, [](std::span<const Var> v) -> std::vector<Var> { return {lt(v[0], v[1])}; }),
        body({kNumber, kNumber}, [](std::span<const Var> v) -> std::vector<Var> { return {v[0] * 3.0}; }), x.first(1),
        x.subspan(1));
  });
  expect_near(results[0], {243});
}

TEST(Control, IfTakesOneBranch) {
  const auto results = run({doubles({}, {-4}), doubles({}, {9})}, [](Graph&, std::span<const Var> x) {
    const GraphPtr negative = body({kNumber}, [](std::span<const Var> v) -> std::vector<Var> { return {neg(v[0])}; });
    const GraphPtr other = body({kNumber}, [](std::span<const Var> v) -> std::vector<Var> { return {sqrt(v[0])}; });
    std::vector<Var> all;
    for (const Var& v : x) all.push_back(if_else(lt(v, 0.0), negative, other, std::span(&v, 1))[0]);
    return all;
  });
  expect_near(results[0], {4});
  expect_near(results[1], {3});
}

template <bool reverse>
std::vector<Var> weighted_history(Graph&, std::span<const Var> x) {
  const GraphPtr turn = body({kNumber, kNumber, kNumber}, [](std::span<const Var> v) -> std::vector<Var> {
    const Var next = v[0] * v[2] + v[1];
    return {next, next};
  });
  return scan(turn, x.first(1), x.subspan(1, 1), x.subspan(2), {.reverse = reverse});
}

TEST(Control, ScanCarriesAndStacks) {
  const auto inputs = {doubles({}, {1}), doubles({3}, {1, 2, 3}), doubles({}, {10})};
  const auto forwards = run(inputs, weighted_history<false>), backwards = run(inputs, weighted_history<true>);
  expect_near(forwards[0], {1123});
  expect_near(forwards[1], {11, 112, 1123});
  expect_near(backwards[0], {1321});
  expect_near(backwards[1], {1321, 132, 13});
}

}  // namespace
}  // namespace ml::test
