// Products of few rows with a large constant: they read it where it is, whatever its alignment, and nothing behind it.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/graph/build_nn.h"
#include "engine/runtime/evaluate.h"
#include "engine/runtime/resources.h"
#include "engine/runtime/staged_plan.h"

namespace ml {
namespace {

std::uint64_t seed() {
  const char* const given = std::getenv("ML_TEST_SEED");
  return given == nullptr ? 1 : std::strtoull(given, nullptr, 0);
}

std::vector<float> draw(std::int64_t count, std::mt19937_64& random) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = std::uniform_real_distribution<float>(-1, 1)(random);
  return values;
}

// Values whose last byte is `behind` bytes in front of memory that may not be read.
class Guarded {
 public:
  Guarded(std::span<const float> values, std::size_t behind) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t room = (values.size_bytes() + behind + page - 1) / page * page;
    size_ = room + page;
    void* const memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<std::byte*>(memory);
    mprotect(base_ + room, page, PROT_NONE);
    bytes_ = {base_ + room - behind - values.size_bytes(), values.size_bytes()};
    std::memcpy(bytes_.data(), values.data(), bytes_.size());
  }
  ~Guarded() { munmap(base_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::byte* base_;
  std::size_t size_;
  std::span<std::byte> bytes_;
};

struct Case {
  Shape x;
  std::int64_t depth, columns;
  bool transposed;
};
const Case kCases[] = {
    {{1, 768}, 768, 96, false},      {{1, 300}, 300, 3001, false},  // blocks of sums
    {{3, 1021}, 1021, 67, false},    {{2, 4, 257}, 257, 300, false}, {{5, 64}, 64, 9000, false},
    {{1, 768}, 768, 97, true},       {{3, 1021}, 1021, 67, true},    {{2, 4, 257}, 257, 2100, true},
    {{6, 1, 16391}, 16391, 5, true}, {{7, 3000}, 3000, 30, true},
};

struct Product {
  Product(const Case& c, std::span<std::byte> matrix) {
    const Var x = input(graph, "x", DType::f32, c.x);
    const Shape shape = c.transposed ? Shape{c.columns, c.depth} : Shape{c.depth, c.columns};
    const auto blob = std::make_shared<const Blob>(matrix, nullptr, "matrix");
    const Var w = constant(graph, std::make_shared<const ConstantData>(ConstantData{DType::f32, shape, blob, 0}));
    output("y", matmul(x, w, false, c.transposed));
  }
  Graph graph;
};

std::vector<float> run(
    const Product& product, const Case& c, std::span<const float> x, int threads,
    const std::function<void()>& before_running = [] {}) {
  const std::unique_ptr<Device> device = create_cpu_device(threads);
  runtime::ProgramResources resources(*device);
  const auto plan = runtime::make_staged_plan(product.graph, resources, {.evaluate = {}});
  EXPECT_EQ(resources.packs().bytes(), 0U);
  runtime::StreamContext context(*device);
  before_running();
  const auto bytes = std::as_bytes(x);
  const std::vector<HostTensor> inputs{{DType::f32, c.x, {bytes.begin(), bytes.end()}}};
  const std::vector<HostTensor> outputs = runtime::run_plan(*plan, context, inputs);
  std::vector<float> values(outputs[0].bytes.size() / sizeof(float));
  std::memcpy(values.data(), outputs[0].bytes.data(), outputs[0].bytes.size());
  return values;
}

void check(const Case& c, std::size_t behind) {
  SCOPED_TRACE(c.x.str() + " x " + std::to_string(c.columns) + (c.transposed ? " transposed" : "") + ", " +
               std::to_string(behind) + " bytes behind, ML_TEST_SEED=" + std::to_string(seed()));
  std::mt19937_64 random(seed());
  const std::vector<float> x = draw(c.x.elements(), random), w = draw(c.depth * c.columns, random);
  const Guarded matrix(w, behind);
  const Product product(c, matrix.bytes());
  const std::vector<float> got = run(product, c, x, 1);

  const std::int64_t rows = c.x.elements() / c.depth;
  ASSERT_EQ(got.size(), static_cast<std::size_t>(rows * c.columns));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < c.columns; ++column) {
      double wanted = 0;
      for (std::int64_t k = 0; k < c.depth; ++k) {
        const std::int64_t at = c.transposed ? column * c.depth + k : k * c.columns + column;
        wanted += double{x[static_cast<std::size_t>(row * c.depth + k)]} * w[static_cast<std::size_t>(at)];
      }
      // 4 units in the last place of the products' magnitudes: factors of [-1, 1] make them 1/4 on average.
      ASSERT_NEAR(got[static_cast<std::size_t>(row * c.columns + column)], wanted,
                  4 * 0x1p-23 * static_cast<double>(c.depth) / 4)
          << "row " << row << ", column " << column;
    }
  }
  EXPECT_EQ(run(product, c, x, 3), got);
}

TEST(FewRows, AreMultipliedWithTheMatrixAsItLies) {
  for (const Case& c : kCases) {
    for (const std::size_t behind : {0, 3}) check(c, behind);
  }
}

TEST(FewRows, ReadTheMatrixWhereItIs) {
  for (const Case& c : kCases) {
    std::mt19937_64 random(seed());
    const std::vector<float> x = draw(c.x.elements(), random);
    const Guarded matrix(draw(c.depth * c.columns, random), 1);
    const std::vector<float> got =
        run(Product(c, matrix.bytes()), c, x, 2, [&] { std::memset(matrix.bytes().data(), 0, matrix.bytes().size()); });
    EXPECT_EQ(got, std::vector<float>(got.size(), 0.0f)) << "ML_TEST_SEED=" << seed();
  }
}

// The sums of a row are the same whoever is multiplied beside it.
TEST(FewRows, DoNotDependOnEachOther) {
  for (const bool transposed : {false, true}) {
    SCOPED_TRACE("ML_TEST_SEED=" + std::to_string(seed()));
    std::mt19937_64 random(seed());
    const Case all{{8, 500}, 500, 203, transposed}, one{{1, 500}, 500, 203, transposed};
    const std::vector<float> x = draw(all.x.elements(), random);
    const Guarded matrix(draw(all.depth * all.columns, random), 2);
    const std::vector<float> together = run(Product(all, matrix.bytes()), all, x, 1);
    for (std::int64_t row = 0; row < 8; ++row) {
      const std::vector<float> alone =
          run(Product(one, matrix.bytes()), one, std::span(x).subspan(static_cast<std::size_t>(row * 500), 500), 1);
      EXPECT_TRUE(std::ranges::equal(alone, std::span(together).subspan(static_cast<std::size_t>(row * 203), 203)))
          << "row " << row;
    }
  }
}

// What stays in a cache, or is read by more rows, is packed.
TEST(FewRows, LeaveOthersToPanels) {
  const std::pair<Shape, Shape> packed[] = {
      {{9, 768}, {768, 768}}, {{2, 5, 768}, {768, 768}}, {{1, 100}, {100, 100}}, {{1, 9000}, {9000, 10}}};
  for (const auto& [x, w] : packed) {
    Graph graph;
    output("y", matmul(input(graph, "x", DType::f32, x), constant(graph, make_splat(DType::f32, w, 0.5))));
    const std::unique_ptr<Device> device = create_cpu_device(1);
    runtime::ProgramResources resources(*device);
    runtime::make_staged_plan(graph, resources, {.evaluate = {}});
    EXPECT_GT(resources.packs().bytes(), 0U) << x.str() << " x " << w.str();
  }
}

}  // namespace
}  // namespace ml
