// What follows a product or convolution with constant weights runs inside of its kernel, and gives what it gives alone.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include "engine/graph/build_nn.h"
#include "engine/passes/passes.h"
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

// y: the contraction; bias: a vector for its columns; r: a tensor of its shape.
using Build = Var (*)(Var y, Var bias, Var r);
struct End {
  const char* name;
  Build build;
  bool adds_residual = false;  // which the depthwise kernel doesn't
  bool calls = false;          // a function follows, outside
};

const End kEnds[] = {
    {"bias", [](Var y, Var b, Var) { return y + b; }},
    {"relu", [](Var y, Var, Var) { return relu(y); }},
    {"bias_and_relu6", [](Var y, Var b, Var) { return clamp(y + b, 0, 6); }},
    {"a_lower_limit_behind_an_upper", [](Var y, Var, Var) { return maximum(minimum(y, 0.5), -0.5); }},
    {"residual", [](Var y, Var b, Var r) { return y + b + r; }, true},
    {"residual_before_bias", [](Var y, Var b, Var r) { return y + r + b; }, true},
    {"residual_and_relu", [](Var y, Var b, Var r) { return relu(r + (y + b)); }, true},
    {"bias_and_silu", [](Var y, Var b, Var) { return silu(y + b); }},
    {"sigmoid", [](Var y, Var, Var) { return sigmoid(y); }},
    {"hard_swish", [](Var y, Var b, Var) { return hard_swish(y + b); }},
    {"relu_and_silu", [](Var y, Var, Var) { return silu(relu(y)); }},
    {"residual_and_silu", [](Var y, Var b, Var r) { return silu(y + b + r); }, true},
    {"silu_and_residual", [](Var y, Var b, Var r) { return silu(y + b) + r; }, true},
    {"relu_and_residual", [](Var y, Var b, Var r) { return r + relu(y + b); }, true},
    {"silu_and_relu", [](Var y, Var b, Var) { return relu(silu(y + b)); }, false, true},
    {"bias_and_gelu_and_residual", [](Var y, Var b, Var r) { return r + gelu(y + b); }, false, true},
    {"residual_whose_place_it_takes", [](Var y, Var b, Var r) { return tanh(relu(y + b + r * 2.0)); }, true, true},
    {"residual_last_whose_place_it_cannot_take", [](Var y, Var b, Var r) { return tanh(silu(y + b) + r * 2.0); }, true,
     true},
    {"relu_times_another", [](Var y, Var, Var r) { return relu(y) * r; }, false, true},
};

struct Product {
  const char* kernel;
  Shape x, w;  // w of rank 2: a matrix product
  std::int64_t groups = 1;
  double ulps = 4;  // of the sum of the products' magnitudes, as in convolution_test.cpp
};
const Product kProducts[] = {
    {"few_rows_matmul", {2, 310}, {310, 230}},
    {"few_rows_matmul", {2, 3, 260}, {260, 270}},
    {"panel_matmul", {17, 40}, {40, 150}},
    {"panel_matmul", {2, 5, 33}, {33, 70}},
    {"panel_matmul", {60, 2300}, {2300, 70}},  // rows that are cut: sums that wait for further pieces
    {"panel_convolution", {2, 24, 9, 7}, {70, 24, 1, 1}},
    {"panel_convolution", {1, 20, 13, 11}, {24, 20, 1, 1}},   // tiles of more rows, for few columns
    {"panel_convolution", {1, 20, 9, 7}, {90, 20, 1, 1}},     // and for few columns behind many
    {"panel_convolution", {1, 300, 5, 4}, {300, 300, 3, 3}},  // sums that wait for further taps
    {"panel_convolution", {1, 96, 14, 14}, {576, 96, 1, 1}},  // halves of the image that go through all weights
    {"winograd_convolution", {1, 40, 26, 25}, {36, 40, 3, 3}, 1, 32},
    {"depthwise_convolution", {1, 67, 13, 12}, {67, 1, 3, 3}, 67},
};

void expect_joined(const Product& product, const End& end) {
  SCOPED_TRACE(std::string(product.kernel) + ", " + end.name + ", ML_TEST_SEED=" + std::to_string(seed()));
  std::mt19937_64 random(seed());
  Graph graph;
  const bool is_matmul = product.w.rank() == 2;
  const Var x = input(graph, "x", DType::f32, product.x);
  const auto constant_of = [&](const Shape& shape) {
    return constant(graph, make_constant(DType::f32, shape, draw(shape.elements(), random)));
  };
  const Var w = constant_of(product.w);
  const std::int64_t pad = is_matmul || product.w[2] == 1 ? 0 : 1;
  const Var y =
      is_matmul ? matmul(x, w) : convolution(x, w, Var{}, {{1, 1}, {pad, pad}, {pad, pad}, {1, 1}}, product.groups);
  const std::int64_t columns = is_matmul ? product.w[1] : product.w[0];
  const Var bias = constant_of(is_matmul ? Shape{columns} : Shape{columns, 1, 1});
  const Var r = input(graph, "r", DType::f32, y.shape());
  output("y", end.build(y, bias, r));
  std::vector<HostTensor> inputs{{DType::f32, product.x, draw(product.x.elements(), random)},
                                 {DType::f32, y.shape(), draw(y.shape().elements(), random)}};

  const std::unique_ptr<Device> reference = create_reference_device(), cpu = create_cpu_device(2);
  const std::vector<HostTensor> wanted = evaluate(graph, *reference, inputs), got = evaluate(graph, *cpu, inputs);
  const auto* a = reinterpret_cast<const float*>(wanted[0].bytes.data());
  const auto* b = reinterpret_cast<const float*>(got[0].bytes.data());
  // Factors of [-1, 1] make products of 1/4 on average; what follows at most doubles a difference.
  const double terms = static_cast<double>(product.w.elements()) / static_cast<double>(columns);
  const double allowed = 2 * product.ulps * 0x1p-23 * (1 + terms / 4);
  for (std::int64_t i = 0; i < y.shape().elements(); ++i)
    ASSERT_NEAR(a[i], b[i], allowed + 1e-6 * std::abs(a[i])) << "element " << i;

  runtime::ProgramResources resources(*cpu);
  const auto plan = runtime::make_plan(graph, resources, {runtime::reference_evaluate()});
  const std::string text = plan->describe();
  if (end.adds_residual && product.groups != 1) return;
  const std::size_t line = text.find("fused_contraction");
  ASSERT_NE(line, std::string::npos) << text;
  EXPECT_NE(text.find(std::string(": ") + product.kernel, line), std::string::npos) << text;
  if (product.w.rank() != 2) return;  // around convolutions there are copies
  EXPECT_EQ(text.find(": loop") != std::string::npos, end.calls) << text;
}

TEST(Epilogues, RunInsideOfTheKernel) {
  for (const Product& product : kProducts) {
    for (const End& end : kEnds) expect_joined(product, end);
  }
}

// A product with one is what the function is asked of.
TEST(Epilogues, HaveFunctionsWithinThreeUnitsInTheLastPlace) {
  struct Asked {
    const char* name;
    Var (*build)(Var);
    long double (*truth)(long double);
  };
  const Asked kAsked[] = {
      {"sigmoid", [](Var x) { return sigmoid(x); }, [](long double x) { return 1 / (1 + std::exp(-x)); }},
      {"silu", [](Var x) { return silu(x); }, [](long double x) { return x / (1 + std::exp(-x)); }}};
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> x = {0.0f, -0.0f, 87.2f, 87.4f, 100.0f, 1e4f, 1e30f, kInf};
  constexpr int kCount = 100'003;
  for (int i = 0; i <= kCount; ++i) x.push_back(static_cast<float>(-86.5 + 173.0 * i / kCount));
  const std::vector<float> none = {-87.4f, -88.0f, -104.0f, -1e4f, -1e30f};  // subnormal or less: zero
  x.insert(x.end(), none.begin(), none.end());
  x.push_back(kNan);
  const auto bytes = std::as_bytes(std::span(x));
  const Shape column{static_cast<std::int64_t>(x.size()), 1};
  for (const Asked& asked : kAsked) {
    SCOPED_TRACE(asked.name);
    Graph graph;
    output("y", asked.build(
                    matmul(input(graph, "x", DType::f32, column), constant(graph, make_splat(DType::f32, {1, 1}, 1)))));
    const auto got = evaluate(graph, *create_cpu_device(1), {{{DType::f32, column, {bytes.begin(), bytes.end()}}}});
    const auto* const y = reinterpret_cast<const float*>(got[0].bytes.data());
    double worst = 0, at = 0;
    const std::size_t last = x.size() - 1, first_none = last - none.size();
    for (std::size_t i = 0; i < first_none; ++i) {
      const long double truth = asked.truth(x[i]);
      const auto rounded = static_cast<float>(truth);
      if (std::isinf(rounded) || rounded == 0) {
        EXPECT_EQ(y[i], rounded) << x[i];
        continue;
      }
      const float unit = std::nextafter(std::abs(rounded), kInf) - std::abs(rounded);
      const auto error = static_cast<double>(std::abs(y[i] - truth) / unit);
      if (error > worst) worst = error, at = x[i];
    }
    EXPECT_LE(worst, asked.name == std::string_view("silu") ? 4 : 3) << "at " << at;
    for (std::size_t i = first_none; i < last; ++i) EXPECT_EQ(y[i], 0) << x[i];
    EXPECT_TRUE(std::isnan(y[last]));
  }
}

// What no epilogue is made for: other types, other shapes, more tensors than one.
TEST(Epilogues, StayOutsideWhereTheKernelHasNone) {
  const auto plan_of = [](const std::function<Var(Graph&, Var)>& end) {
    Graph graph;
    const Var x = input(graph, "x", DType::f32, {8, 16});
    const Var y = matmul(x, constant(graph, make_splat(DType::f32, {16, 32}, 0.5)));
    output("y", end(graph, y));
    const std::unique_ptr<Device> cpu = create_cpu_device(2);
    runtime::ProgramResources resources(*cpu);
    return runtime::make_plan(graph, resources, {runtime::reference_evaluate()})->describe();
  };
  const auto row = [](Graph& g, Var y) { return y * input(g, "r", DType::f32, {8, 1}); };
  EXPECT_EQ(plan_of(row).find("fused_contraction"), std::string::npos);
  const auto integers = [](Graph&, Var y) { return cast(cast(y, DType::i32), DType::f32); };
  EXPECT_EQ(plan_of(integers).find("fused_contraction"), std::string::npos);
  const auto function = [](Graph&, Var y) { return tanh(y); };
  EXPECT_EQ(plan_of(function).find("fused_contraction"), std::string::npos);
  const auto two = [](Graph& g, Var y) {
    return y + input(g, "a", DType::f32, {8, 32}) + input(g, "b", DType::f32, {8, 32});
  };
  EXPECT_NE(plan_of(two).find("fused_contraction"), std::string::npos) << "as far as the first of them";
  EXPECT_NE(plan_of(two).find("\nadd"), std::string::npos) << plan_of(two);
}

// A product's packed weights are there in no other form: what adds them again has to read the constant.
TEST(Epilogues, DontReadTheOwnWeights) {
  struct Case {
    const char* what;
    Shape x, w;
    Var (*build)(Var x, Var w);
  };
  const Case cases[] = {
      {"residual of a product", {24, 24}, {24, 24}, [](Var x, Var w) { return matmul(x, w) + w; }},
      {"bias of a product", {24, 1}, {1, 24}, [](Var x, Var w) { return matmul(x, w) + w; }},
      {"residual of few rows",
       {8, 300},
       {300, 300},
       [](Var x, Var w) {
         return relu(matmul(x, w) + slice(w, {0, 0}, {8, 300}));
       }},
      {"relu", {8, 8}, {8, 8}, [](Var x, Var w) { return relu(matmul(x, w) + w); }},
      {"bias of a convolution",
       {1, 1, 5, 5},
       {1, 1, 1, 1},
       [](Var x, Var w) { return convolution(x, w, Var{}, Windows::unit(2)) + w; }},
      {"residual of a convolution",
       {8, 8, 3, 3},
       {8, 8, 3, 3},
       [](Var x, Var w) {
         return convolution(x, w, Var{}, {{1, 1}, {1, 1}, {1, 1}, {1, 1}}) + w;
       }},
  };
  std::mt19937_64 random(seed());
  for (const Case& each : cases) {
    SCOPED_TRACE(std::string(each.what) + ", ML_TEST_SEED=" + std::to_string(seed()));
    Graph graph;
    const Var x = input(graph, "x", DType::f32, each.x);
    output("y", each.build(x, constant(graph, make_constant(DType::f32, each.w, draw(each.w.elements(), random)))));
    const std::vector<HostTensor> inputs{{DType::f32, each.x, draw(each.x.elements(), random)}};
    const HostTensor right = evaluate(graph, *create_reference_device(), inputs)[0];
    const HostTensor got = evaluate(graph, *create_cpu_device(2), inputs)[0];
    const auto* const a = reinterpret_cast<const float*>(right.bytes.data());
    const auto* const b = reinterpret_cast<const float*>(got.bytes.data());
    for (std::size_t i = 0; i < right.bytes.size() / sizeof(float); ++i) ASSERT_NEAR(a[i], b[i], 1e-4) << i;
  }
}

}  // namespace
}  // namespace ml
