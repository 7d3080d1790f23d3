// The convolution and product kernels for constant weights, against sums in f64: sizes that leave rests everywhere, and
// which kernel takes what.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>

#include "engine/graph/build_nn.h"
#include "engine/passes/passes.h"
#include "engine/runtime/devices.h"
#include "engine/runtime/evaluate.h"
#include "engine/runtime/plan.h"
#include "engine/runtime/resources.h"

namespace ml {
namespace {

using Floats = std::vector<float>;

struct Case {
  const char* name;
  const char* kernel;
  std::int64_t images, channels, height, width, results, window, stride, pad, dilation, groups;
  bool bias;
  double ulps;  // of the sum of the products' magnitudes
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

constexpr Case kCases[] = {
    {"pointwise", "panel_convolution", 2, 40, 9, 7, 70, 1, 1, 0, 1, 1, true, 4},
    {"pointwise_strided", "panel_convolution", 1, 24, 9, 11, 65, 1, 2, 0, 1, 1, false, 4},
    {"half_a_panel", "panel_convolution", 1, 37, 9, 7, 24, 1, 1, 0, 1, 1, true, 4},
    {"one_vector", "panel_convolution", 2, 35, 9, 7, 16, 1, 1, 0, 1, 1, true, 4},
    {"one_vector_in_part", "panel_convolution", 1, 17, 11, 7, 5, 3, 1, 1, 1, 1, false, 4},
    {"panels_and_a_half", "panel_convolution", 1, 18, 11, 7, 96, 1, 1, 0, 1, 1, true, 4},
    {"three", "panel_convolution", 1, 24, 10, 9, 20, 3, 1, 1, 1, 1, true, 4},
    {"three_strided", "panel_convolution", 2, 33, 15, 14, 66, 3, 2, 1, 1, 1, true, 4},
    {"dilated", "panel_convolution", 1, 17, 16, 15, 30, 3, 1, 2, 2, 1, true, 4},
    {"few_channels", "panel_convolution", 2, 3, 33, 31, 40, 7, 2, 3, 1, 1, true, 4},
    {"picture_and_depth", "panel_convolution", 2, 4, 18, 17, 24, 3, 2, 1, 1, 1, true, 4},
    {"ten_channels", "panel_convolution", 1, 10, 18, 17, 24, 3, 2, 1, 1, 1, true, 4},
    {"two_channels", "panel_convolution", 2, 2, 9, 35, 8, 3, 1, 1, 1, 1, true, 4},
    {"one_channel_and_long_lines", "panel_convolution", 1, 1, 7, 37, 8, 3, 1, 1, 1, 1, true, 4},
    {"one_channel", "panel_convolution", 1, 1, 12, 13, 5, 5, 1, 0, 1, 1, false, 4},
    {"wide_padding", "panel_convolution", 1, 4, 3, 2, 6, 3, 1, 4, 1, 1, true, 4},
    {"groups", "panel_convolution", 1, 24, 9, 9, 36, 3, 1, 1, 1, 4, true, 4},
    {"weights_beside_a_small_image", "panel_convolution", 1, 200, 7, 7, 300, 1, 1, 0, 1, 1, true, 4},
    {"many_weights", "panel_convolution", 1, 300, 5, 4, 500, 3, 1, 1, 1, 1, true, 4},
    {"depthwise", "depthwise_convolution", 2, 67, 13, 12, 67, 3, 1, 1, 1, 67, true, 4},
    {"depthwise_strided", "depthwise_convolution", 1, 32, 14, 15, 32, 5, 2, 2, 1, 32, false, 4},
    {"depthwise_three", "depthwise_convolution", 2, 48, 21, 18, 48, 3, 1, 1, 1, 48, true, 4},
    {"depthwise_three_strided", "depthwise_convolution", 1, 40, 21, 18, 40, 3, 2, 1, 1, 40, true, 4},
    {"depthwise_five", "depthwise_convolution", 1, 50, 19, 18, 50, 5, 1, 2, 1, 50, true, 4},
    {"depthwise_wide_padding", "depthwise_convolution", 1, 18, 6, 5, 18, 3, 2, 4, 1, 18, false, 4},
    {"depthwise_valid", "depthwise_convolution", 1, 33, 9, 8, 33, 3, 1, 0, 1, 33, true, 4},
    {"depthwise_seven", "depthwise_convolution", 1, 33, 11, 10, 33, 7, 1, 3, 1, 33, true, 4},
    {"depthwise_stride_three", "depthwise_convolution", 1, 33, 11, 10, 33, 3, 3, 1, 1, 33, true, 4},
    {"depthwise_dilated", "depthwise_convolution", 1, 20, 9, 8, 20, 3, 1, 2, 2, 20, true, 4},
    {"depthwise_narrow", "depthwise_convolution", 1, 16, 4, 2, 16, 5, 1, 2, 1, 16, true, 4},
    {"windows_far_apart", "panel_convolution", 1, 3, 4, 4, 8, 3, 2147483647, 2147483647, 1, 1, true, 8},
    {"places_of_many_images", "panel_convolution", 20, 40, 1, 1, 70, 1, 1, 0, 1, 1, true, 8},
    {"images_that_are_one", "panel_convolution", 5, 40, 3, 3, 130, 1, 1, 0, 1, 1, true, 8},
    {"images_that_share_weights", "panel_convolution", 5, 300, 7, 7, 200, 3, 1, 1, 1, 1, true, 32},
    {"winograd", "winograd_convolution", 1, 64, 28, 27, 70, 3, 1, 1, 1, 1, true, 32},
    {"winograd_batch", "winograd_convolution", 3, 33, 14, 13, 40, 3, 1, 1, 1, 1, false, 32},
    {"winograd_valid", "winograd_convolution", 1, 48, 30, 26, 64, 3, 1, 0, 1, 1, true, 32},
};

class Convolutions : public testing::TestWithParam<Case> {};

std::uint64_t seed() {
  const char* const given = std::getenv("ML_TEST_SEED");
  return given == nullptr ? 1 : std::strtoull(given, nullptr, 0);
}

Floats draw(std::size_t count, std::mt19937_64& random) {
  Floats values(count);
  for (float& value : values) value = std::uniform_real_distribution<float>(-1, 1)(random);
  return values;
}

TEST_P(Convolutions, AreTheSumsThatTheyStandFor) {
  const Case& c = GetParam();
  SCOPED_TRACE("ML_TEST_SEED=" + std::to_string(seed()));
  std::mt19937_64 random(seed());
  const std::int64_t depth = c.channels / c.groups, reach = (c.window - 1) * c.dilation + 1;
  const std::int64_t lines = (c.height + 2 * c.pad - reach) / c.stride + 1;
  const std::int64_t columns = (c.width + 2 * c.pad - reach) / c.stride + 1;
  const Floats x = draw(static_cast<std::size_t>(c.images * c.channels * c.height * c.width), random);
  const Floats w = draw(static_cast<std::size_t>(c.results * depth * c.window * c.window), random);
  const Floats bias = draw(static_cast<std::size_t>(c.results), random);

  Graph graph;
  const auto weights = [&graph](const Shape& shape, const Floats& values) {
    return constant(graph, make_constant(DType::f32, shape, std::as_bytes(std::span(values))));
  };
  const Shape image{c.images, c.channels, c.height, c.width};
  const Windows windows{{c.stride, c.stride}, {c.pad, c.pad}, {c.pad, c.pad}, {c.dilation, c.dilation}};
  output("y", convolution(input(graph, "x", DType::f32, image), weights({c.results, depth, c.window, c.window}, w),
                          c.bias ? weights({c.results}, bias) : Var{}, windows, c.groups));
  Floats first;
  for (const int threads : {1, 2, 3}) {
    const std::unique_ptr<Device> device = runtime::create_device("cpu", threads);
    runtime::ProgramResources resources(*device);
    const passes::Evaluate fold = runtime::reference_evaluate();
    const auto plan = runtime::make_staged_plan(graph, resources, {fold});
    ASSERT_NE(plan->describe().find(c.kernel), std::string::npos) << plan->describe();
    runtime::StreamContext context(*device);
    const auto bytes = std::as_bytes(std::span(x));
    const HostTensor result =
        runtime::run_plan(*plan, context, std::vector{HostTensor{DType::f32, image, {bytes.begin(), bytes.end()}}})[0];
    ASSERT_EQ(result.shape, (Shape{c.images, c.results, lines, columns}));
    Floats got(result.bytes.size() / sizeof(float));
    std::memcpy(got.data(), result.bytes.data(), result.bytes.size());
    if (!first.empty()) {
      EXPECT_EQ(std::memcmp(first.data(), got.data(), result.bytes.size()), 0) << threads << " threads: other bits";
      continue;
    }
    first = got;
  }
  std::size_t at = 0;
  double worst = 0;
  for (std::int64_t n = 0; n < c.images; ++n) {
    for (std::int64_t k = 0; k < c.results; ++k) {
      for (std::int64_t i = 0; i < lines; ++i) {
        for (std::int64_t j = 0; j < columns; ++j, ++at) {
          double sum = c.bias ? static_cast<double>(bias[static_cast<std::size_t>(k)]) : 0, magnitude = std::abs(sum);
          for (std::int64_t d = 0; d < depth; ++d) {
            const std::int64_t channel = k / (c.results / c.groups) * depth + d;
            for (std::int64_t a = 0; a < c.window; ++a) {
              for (std::int64_t b = 0; b < c.window; ++b) {
                const std::int64_t p = i * c.stride - c.pad + a * c.dilation, q = j * c.stride - c.pad + b * c.dilation;
                if (p < 0 || q < 0 || p >= c.height || q >= c.width) continue;
                const double product =
                    static_cast<double>(
                        x[static_cast<std::size_t>(((n * c.channels + channel) * c.height + p) * c.width + q)]) *
                    static_cast<double>(w[static_cast<std::size_t>(((k * depth + d) * c.window + a) * c.window + b)]);
                sum += product;
                magnitude += std::abs(product);
              }
            }
          }
          worst = std::max(worst, std::abs(static_cast<double>(first[at]) - sum) / (magnitude * 0x1p-23 + 1e-30));
        }
      }
    }
  }
  EXPECT_LE(worst, c.ulps);
  RecordProperty("ulps", std::to_string(worst));
}
INSTANTIATE_TEST_SUITE_P(Cases, Convolutions, testing::ValuesIn(kCases),
                         [](const auto& instance) { return instance.param.name; });

// Other images are copied into the layout that convolutions have.
TEST(ConvolutionLayouts, ReadPicturesAsTheyCome) {
  const auto copies = [](std::int64_t channels) {
    Graph graph;
    const Var x = input(graph, "x", DType::f32, {1, channels, 18, 17});
    const Var w = constant(graph, make_splat(DType::f32, {24, channels, 3, 3}, 0.5));
    output("y", convolution(x, w, Var{}, {{2, 2}, {1, 1}, {1, 1}, {1, 1}}));
    const std::unique_ptr<Device> device = runtime::create_device("cpu", 2);
    runtime::ProgramResources resources(*device);
    const std::string text = runtime::make_plan(graph, resources, {runtime::reference_evaluate()})->describe();
    int count = 0;
    for (std::size_t at = 0; (at = text.find("broadcast_to", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  EXPECT_EQ(copies(3), 1) << "of the result alone";
  EXPECT_EQ(copies(10), 2);
}

}  // namespace
}  // namespace ml
