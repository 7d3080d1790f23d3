// Constants in panels: every element in its place, from any alignment, by any number of threads, times the factor of
// its column; and what has been read is set aside.
#include "engine/backends/cpu/panel_pack.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>

#include "engine/graph/build_nn.h"
#include "engine/passes/passes.h"
#include "engine/runtime/evaluate.h"
#include "engine/runtime/resources.h"

namespace ml::cpu {
namespace {

std::uint64_t seed() {
  const char* const given = std::getenv("ML_TEST_SEED");
  return given == nullptr ? 1 : std::strtoull(given, nullptr, 0);
}

// Floats that begin a byte behind where they should.
struct Values {
  explicit Values(std::int64_t count) : bytes(static_cast<std::size_t>(count) * sizeof(float) + 1) {
    std::mt19937_64 random(seed());
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = std::uniform_real_distribution<float>(-1, 1)(random);
      std::memcpy(bytes.data() + 1 + i * std::int64_t{sizeof value}, &value, sizeof value);
    }
  }
  float at(std::int64_t i) const {
    float value;
    std::memcpy(&value, bytes.data() + 1 + i * std::int64_t{sizeof value}, sizeof value);
    return value;
  }
  ConstantData constant(const Shape& shape, Blob::Drop drop = nullptr) const {
    return {DType::f32, shape, std::make_shared<const Blob>(bytes, nullptr, "values", drop), 1};
  }
  std::vector<std::byte> bytes;
};

struct Case {
  const char* name;
  Shape shape;
  PanelSource source;
  std::int64_t run;  // of a channel, of which there are as many as columns in all
  std::int64_t channels;
};
const Case kCases[] = {
    {"as_it_comes", {70, 150}, {.depth = 70, .columns = 150, .strides = {150, 1}}, 1, 150},
    {"transposed", {150, 70}, {.depth = 70, .columns = 150, .strides = {1, 70}}, 70, 150},
    {"a_window", {20, 7, 3, 3}, {0, 9, 1, 7, 20, {9, 63}}, 63, 20},
    {"the_second_group", {40, 7, 3, 3}, {1260, 9, 1, 7, 20, {9, 63}}, 63, 40},
    {"one_element_and_column", {1, 1}, {.depth = 1, .columns = 1, .strides = {1, 1}}, 1, 1},
    // 8 MB: pieces that are set aside one by one.
    {"large", {1000, 2100}, {.depth = 1000, .columns = 2100, .strides = {2100, 1}}, 1, 2100},
    {"large_transposed", {2100, 1000}, {.depth = 1000, .columns = 2100, .strides = {1, 1000}}, 1000, 2100},
};

void expect_packed(const Case& c, bool scales, int threads) {
  SCOPED_TRACE(std::string(c.name) + (scales ? " scaled, " : ", ") + std::to_string(threads) +
               " threads, ML_TEST_SEED=" + std::to_string(seed()));
  constexpr std::int64_t kWidth = 16;
  const Values values(c.shape.elements());
  ConstantData constant = values.constant(c.shape);
  std::vector<double> factors(static_cast<std::size_t>(c.channels));
  std::iota(factors.begin(), factors.end(), 0.1);
  if (scales) constant = {DType::f32, c.shape, Blob::of_scaled({constant, factors, c.run}), 0};
  const PanelSource& s = c.source;
  const std::int64_t panels = (s.columns + kWidth - 1) / kWidth;
  std::vector<float> packed(static_cast<std::size_t>(panels * kWidth * s.taps * s.depth));
  ThreadPool pool(threads);
  pack_panels(constant, s, kWidth, packed.data(), pool);
  std::size_t i = 0;
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    for (std::int64_t tap = 0; tap < s.taps; ++tap) {
      for (std::int64_t k = 0; k < s.depth; ++k) {
        for (std::int64_t j = panel * kWidth; j < (panel + 1) * kWidth; ++j, ++i) {
          const std::int64_t at = s.first + tap * s.tap + k * s.strides.row + j * s.strides.column;
          float wanted = 0;
          if (j < s.columns) {
            wanted = values.at(at);
            const double factor = factors[static_cast<std::size_t>(at / c.run % c.channels)];
            if (scales) wanted = static_cast<float>(wanted * factor);
          }
          ASSERT_EQ(packed[i], wanted) << "column " << j << ", tap " << tap << ", row " << k;
        }
      }
    }
  }
  EXPECT_EQ(constant.blob->is_made(), !scales);
}

TEST(PanelPack, PutsEveryElementInItsPlace) {
  for (const Case& c : kCases) {
    for (const bool scales : {false, true}) {
      for (const int threads : {1, 3}) expect_packed(c, scales, threads);
    }
  }
}

// Rows of a column that have different factors: the product is made first.
TEST(PanelPack, TakesFactorsThatAreNotOfColumns) {
  const Values values(6 * 20);
  const std::vector<double> factors{1, 2, 3, 4, 5, 6};
  const ConstantData constant{DType::f32, {6, 20}, Blob::of_scaled({values.constant({6, 20}), factors, 20}), 0};
  std::vector<float> packed(6 * 32);
  ThreadPool pool(1);
  pack_panels(constant, {.depth = 6, .columns = 20, .strides = {20, 1}}, 32, packed.data(), pool);
  for (int k = 0; k < 6; ++k) {
    for (int j = 0; j < 20; ++j)
      EXPECT_EQ(packed[static_cast<std::size_t>(k * 32 + j)], values.at(k * 20 + j) * static_cast<float>(k + 1));
  }
}

TEST(PanelPack, SetsAsideWhatHasBeenRead) {
  static std::vector<std::span<const std::byte>> dropped;
  for (const Case& c : kCases) {
    dropped.clear();
    const Values values(c.shape.elements());
    const ConstantData constant =
        values.constant(c.shape, [](std::span<const std::byte> bytes) { dropped.push_back(bytes); });
    const PanelSource& s = c.source;
    std::vector<float> packed(static_cast<std::size_t>((s.columns + 15) / 16 * 16 * s.taps * s.depth));
    ThreadPool pool(1);
    pack_panels(constant, s, 16, packed.data(), pool);
    const std::byte* at = values.bytes.data() + 1 + s.first * std::int64_t{sizeof(float)};
    for (const std::span<const std::byte> bytes : dropped) {
      EXPECT_EQ(bytes.data(), at) << c.name;
      at = bytes.data() + bytes.size();
    }
    EXPECT_EQ(at, values.bytes.data() + 1 + (s.first + s.columns * s.taps * s.depth) * std::int64_t{sizeof(float)})
        << c.name;
    EXPECT_EQ(dropped.size() > 1, c.shape.elements() > 1'000'000) << c.name;
  }
}

// Factors behind a convolution or product end in its panels, and the scaled weights are nowhere else.
TEST(PanelPack, MakesNoScaledWeightsBeforeThePanels) {
  struct Sample {
    const char* kernel;
    Shape x, w;
  };
  const Sample samples[] = {
      {"panel_convolution", {1, 24, 5, 5}, {70, 24, 1, 1}},
      {"winograd_convolution", {1, 40, 26, 25}, {36, 40, 3, 3}},
      {"panel_matmul", {17, 40}, {40, 150}},
  };
  for (const Sample& sample : samples) {
    SCOPED_TRACE(std::string(sample.kernel) + ", ML_TEST_SEED=" + std::to_string(seed()));
    const Values values(sample.w.elements());
    Graph graph;
    const Var x = input(graph, "x", DType::f32, sample.x);
    const Var w = constant(graph, std::make_shared<const ConstantData>(values.constant(sample.w)));
    const bool is_matmul = sample.w.rank() == 2;
    const std::int64_t columns = sample.w[is_matmul ? 1 : 0], pad = is_matmul ? 0 : sample.w[2] / 2;
    const Values factors(columns);
    const Var factor = constant(graph, std::make_shared<const ConstantData>(
                                           factors.constant(is_matmul ? Shape{columns} : Shape{columns, 1, 1})));
    const Var y = is_matmul ? matmul(x, w) : convolution(x, w, Var{}, {{1, 1}, {pad, pad}, {pad, pad}, {1, 1}}, 1);
    output("y", y * factor);
    const Graph folded = passes::fold_into_weights(graph);

    const std::unique_ptr<Device> cpu = create_cpu_device(2), reference = create_reference_device();
    runtime::ProgramResources resources(*cpu);
    const auto plan = runtime::make_plan(folded, resources, {.evaluate = {}});
    EXPECT_NE(plan->describe().find(std::string(": ") + sample.kernel), std::string::npos) << plan->describe();
    int scaled = 0;
    for (const Node& node : folded.nodes()) {
      if (node.op->kind != OpKind::constant) continue;
      const Blob& blob = *node.as<ConstantAttributes>().value->blob;
      if (blob.scaled() == nullptr) continue;
      ++scaled;
      EXPECT_FALSE(blob.is_made());
    }
    EXPECT_EQ(scaled, 1);

    const Values given(sample.x.elements());
    const auto bytes = std::span(given.bytes).subspan(1);
    const std::vector<HostTensor> inputs{{DType::f32, sample.x, {bytes.begin(), bytes.end()}}};
    const std::vector<HostTensor> wanted = evaluate(graph, *reference, inputs), got = evaluate(folded, *cpu, inputs);
    // As in epilogue_test.cpp, of the kernel that loses most.
    const double allowed = 32 * 0x1p-23 * (1 + static_cast<double>(sample.w.elements() / columns) / 4);
    const auto* a = reinterpret_cast<const float*>(wanted[0].bytes.data());
    const auto* b = reinterpret_cast<const float*>(got[0].bytes.data());
    for (std::size_t i = 0; i < wanted[0].bytes.size() / sizeof(float); ++i)
      ASSERT_NEAR(a[i], b[i], allowed) << "element " << i;
  }
}

}  // namespace
}  // namespace ml::cpu
