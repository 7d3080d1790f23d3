// A 1x1 convolution and the windows behind it as one kernel give what each gives by itself in the reference backend,
// and the same bits on any number of threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include "engine/graph/build_nn.h"
#include "engine/runtime/evaluate.h"
#include "engine/runtime/plan.h"
#include "engine/runtime/resources.h"

namespace ml {
namespace {

std::uint64_t seed() {
  const char* const given = std::getenv("ML_TEST_SEED");
  return given == nullptr ? 1 : std::strtoull(given, nullptr, 0);
}

std::vector<std::byte> draw(std::int64_t count, std::mt19937_64& random) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = std::uniform_real_distribution<float>(-1, 1)(random);
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

using End = Var (*)(Var y, Var bias);
Var nothing(Var y, Var) { return y; }
Var biased(Var y, Var b) { return y + b; }
Var relu6(Var y, Var b) { return clamp(y + b, 0, 6); }
Var swish(Var y, Var b) { return silu(y + b); }

struct Case {
  const char* name;
  std::int64_t images, inputs, height, width, channels, window, stride;
  std::int64_t top, left, bottom, right;  // padding
  End expand, windows;
};
// Images between the two of more than 512 KB.
const Case kCases[] = {
    {"as in MobileNetV2", 1, 16, 56, 56, 96, 3, 1, 1, 1, 1, 1, relu6, relu6},
    {"every second", 1, 16, 58, 60, 96, 3, 2, 1, 1, 1, 1, relu6, relu6},
    {"as in EfficientNet", 1, 24, 41, 43, 144, 5, 1, 2, 2, 2, 2, swish, swish},
    {"every second of 5x5", 1, 24, 45, 41, 144, 5, 2, 2, 2, 2, 2, swish, swish},
    {"odd channels", 1, 7, 57, 41, 67, 3, 1, 1, 1, 1, 1, relu6, biased},
    {"a few channels", 1, 3, 201, 203, 5, 3, 2, 1, 1, 1, 1, biased, relu6},
    {"one input", 1, 1, 53, 47, 70, 5, 1, 2, 2, 2, 2, nothing, nothing},
    {"images", 3, 12, 39, 37, 100, 3, 1, 1, 1, 1, 1, swish, relu6},
    {"images and every second", 2, 12, 39, 37, 100, 5, 2, 2, 2, 2, 2, relu6, swish},
    {"no padding", 1, 9, 44, 43, 90, 3, 1, 0, 0, 0, 0, relu6, nothing},
    {"padding on one side", 1, 9, 44, 44, 90, 3, 2, 0, 0, 1, 1, relu6, relu6},
    {"windows in the padding alone", 1, 9, 44, 43, 90, 3, 1, 4, 5, 3, 2, relu6, relu6},
    {"one line of results", 1, 8, 3, 600, 90, 3, 1, 0, 1, 0, 1, relu6, relu6},
    {"long lines", 1, 4, 9, 1500, 20, 5, 1, 2, 2, 2, 2, relu6, relu6},
    {"narrow", 1, 8, 700, 3, 90, 3, 1, 1, 1, 1, 1, relu6, relu6},
};

struct Built {
  Graph graph;
  std::vector<HostTensor> inputs;
};
Built build(const Case& c, std::mt19937_64& random) {
  Built built;
  const auto constant_of = [&](const Shape& shape) {
    return constant(built.graph, make_constant(DType::f32, shape, draw(shape.elements(), random)));
  };
  const Shape shape{c.images, c.inputs, c.height, c.width};
  const Var x = input(built.graph, "x", DType::f32, shape);
  const Var expanded = convolution(x, constant_of({c.channels, c.inputs, 1, 1}), Var{}, Windows::unit(2));
  const Var image = c.expand(expanded, constant_of({c.channels, 1, 1}));
  const Windows windows{{c.stride, c.stride}, {c.top, c.left}, {c.bottom, c.right}, {1, 1}};
  const Var y = convolution(image, constant_of({c.channels, 1, c.window, c.window}), Var{}, windows, c.channels);
  output("y", c.windows(y, constant_of({c.channels, 1, 1})));
  built.inputs.push_back({DType::f32, shape, draw(shape.elements(), random)});
  return built;
}

std::string plan_of(const Graph& graph) {
  const std::unique_ptr<Device> cpu = create_cpu_device(2);
  runtime::ProgramResources resources(*cpu);
  return runtime::make_plan(graph, resources, {.evaluate = runtime::reference_evaluate()})->describe();
}

class ExpandedDepthwise : public testing::TestWithParam<Case> {};

TEST_P(ExpandedDepthwise, IsBothConvolutions) {
  const Case& c = GetParam();
  SCOPED_TRACE("ML_TEST_SEED=" + std::to_string(seed()));
  std::mt19937_64 random(seed());
  const Built built = build(c, random);
  const std::string plan = plan_of(built.graph);
  ASSERT_NE(plan.find(": expanded_depthwise"), std::string::npos) << plan;

  const auto floats = [](const HostTensor& tensor) {
    return std::span(reinterpret_cast<const float*>(tensor.bytes.data()), tensor.bytes.size() / sizeof(float));
  };
  const auto wanted = evaluate(built.graph, *create_reference_device(), built.inputs);
  const auto first = evaluate(built.graph, *create_cpu_device(1), built.inputs);
  const std::span<const float> a = floats(wanted[0]), b = floats(first[0]);
  ASSERT_EQ(a.size(), b.size());
  // Sums of both, whose terms are products of two numbers of [-1, 1], each with a few units in the last place.
  const double allowed =
      8 * 0x1p-24 * (1 + static_cast<double>(c.inputs) / 2) * (1 + static_cast<double>(c.window * c.window) / 2);
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], allowed) << "element " << i;
  for (const int threads : {2, 3}) {
    const auto again = evaluate(built.graph, *create_cpu_device(threads), built.inputs);
    EXPECT_EQ(again[0].bytes, first[0].bytes) << threads << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, ExpandedDepthwise, testing::ValuesIn(kCases), [](const auto& test) {
  std::string name = test.param.name;
  std::ranges::replace(name, ' ', '_');
  return name;
});

// Limits leave NaN as it is, in both.
TEST(ExpandedDepthwise, KeepsNaN) {
  std::mt19937_64 random(seed());
  Built built = build(kCases[0], random);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(built.inputs[0].bytes.data(), &nan, sizeof nan);  // of the first place
  const auto wanted = evaluate(built.graph, *create_reference_device(), built.inputs);
  const auto got = evaluate(built.graph, *create_cpu_device(1), built.inputs);
  const auto* a = reinterpret_cast<const float*>(wanted[0].bytes.data());
  const auto* b = reinterpret_cast<const float*>(got[0].bytes.data());
  int count = 0;
  for (std::int64_t i = 0; i < wanted[0].shape.elements(); ++i) {
    ASSERT_EQ(std::isnan(a[i]), std::isnan(b[i])) << "element " << i;
    count += std::isnan(b[i]) ? 1 : 0;
  }
  EXPECT_EQ(count, 4 * 96);  // four windows hold the place
}

// The image between stays in the arena where the kernel doesn't take both.
TEST(ExpandedDepthwise, LeavesOthersApart) {
  const auto plan = [](const std::function<Var(Graph&, Var, Var)>& rest, std::int64_t extent = 56,
                       std::int64_t kernel = 1) {
    Graph graph;
    const Var x = input(graph, "x", DType::f32, {1, 16, extent, extent});
    const Var w = constant(graph, make_splat(DType::f32, {96, 16, kernel, kernel}, 0.5));
    const Var windows = constant(graph, make_splat(DType::f32, {96, 1, 3, 3}, 0.5));
    Windows around = Windows::unit(2);
    if (kernel != 1) around.pad_low = around.pad_high = {1, 1};
    output("y", rest(graph, convolution(x, w, Var{}, around), windows));
    return plan_of(graph);
  };
  const Windows same{{1, 1}, {1, 1}, {1, 1}, {1, 1}};
  const auto plain = [&](Graph&, Var y, Var w) { return convolution(y, w, Var{}, same, 96); };
  EXPECT_NE(plan(plain).find(": expanded_depthwise"), std::string::npos) << plan(plain);
  const auto apart = [](const std::string& text) { return text.find("expanded_depthwise") == std::string::npos; };
  EXPECT_TRUE(apart(plan(plain, 14))) << "an image that stays in the cache";
  EXPECT_TRUE(apart(plan(plain, 56, 3))) << "a first convolution of 3x3";
  EXPECT_TRUE(apart(plan([&](Graph&, Var y, Var w) {
    return convolution(y, w, Var{}, {{1, 1}, {2, 2}, {2, 2}, {2, 2}}, 96);
  }))) << "windows with gaps";
  EXPECT_TRUE(apart(plan([&](Graph&, Var y, Var w) {
    return convolution(y, w, Var{}, {{2, 1}, {1, 1}, {1, 1}, {1, 1}}, 96);
  }))) << "two strides";
  EXPECT_TRUE(apart(plan([&](Graph& g, Var y, Var) {
    return convolution(y, constant(g, make_splat(DType::f32, {96, 2, 3, 3}, 0.5)), Var{}, same, 48);
  }))) << "groups of two channels";
  EXPECT_TRUE(apart(plan([&](Graph& g, Var y, Var) {
    return convolution(y, input(g, "v", DType::f32, {96, 1, 3, 3}), Var{}, same, 96);
  }))) << "windows that are no constant";
  EXPECT_TRUE(apart(plan([&](Graph& g, Var y, Var w) {
    return convolution(y + input(g, "r", DType::f32, y.shape()), w, Var{}, same, 96);
  }))) << "a residual between";
  EXPECT_TRUE(apart(plan([&](Graph&, Var y, Var w) { return convolution(y, w, Var{}, same, 96) + y; })))
      << "another reader";
}

// Ten times the input and more are never in memory at once.
TEST(ExpandedDepthwise, NeedsNoMemoryForTheImageBetween) {
  std::mt19937_64 random(seed());
  const Case large{"", 1, 16, 112, 112, 96, 3, 2, 1, 1, 1, 1, relu6, relu6};
  const std::unique_ptr<Device> cpu = create_cpu_device(2);
  runtime::ProgramResources resources(*cpu);
  const auto plan = runtime::make_plan(build(large, random).graph, resources, {runtime::reference_evaluate()});
  // The input and the result in the order of channels last, and lines.
  const std::size_t ends = (std::size_t{16} * 112 * 112 + std::size_t{96} * 56 * 56) * sizeof(float);
  EXPECT_LT(plan->scratch_bytes(), ends + (std::size_t{1} << 20));
}

}  // namespace
}  // namespace ml
