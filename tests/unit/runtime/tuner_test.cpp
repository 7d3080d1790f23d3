// Which implementation is taken, in each mode, and that it stays.
#include "engine/runtime/tuner.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <string>

#include "engine/backends/pack_cache.h"
#include "engine/graph/build_nn.h"
#include "engine/runtime/devices.h"
#include "engine/runtime/plan.h"
#include "ml/error.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/runtime/host_tensors.h"

namespace ml::runtime {
namespace {

namespace fs = std::filesystem;

// Computes nothing.
class Idle final : public Kernel {
 public:
  void launch(Stream&, std::span<const BufferSpan>, std::span<const BufferSpan>, BufferSpan) const override {}
};

// Has a slow row for products, then one that takes no time, and tells a name of its own.
class TwoRows final : public Device {
 public:
  explicit TwoRows(std::string fingerprint = "two") : fingerprint_(std::move(fingerprint)) {
    for (const Implementation& row : inner_->implementations()) {
      if (row.op == "matmul") table_.push_back(row);
    }
    table_.resize(1);
    table_.push_back({.op = "matmul", .kernel = "idle", .refuse = nullptr, .compile = compile_idle});
  }
  std::string_view name() const override { return "two"; }
  const DeviceTraits& traits() const override { return inner_->traits(); }
  std::string fingerprint() const override { return fingerprint_; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes) override {
    if (fails) throw Error(Code::out_of_memory, "no memory");
    return inner_->allocate(bytes);
  }
  std::unique_ptr<Buffer> wrap(void* memory, std::size_t bytes) override { return inner_->wrap(memory, bytes); }
  std::unique_ptr<Stream> create_stream() override { return inner_->create_stream(); }
  std::span<const Implementation> implementations() const override { return table_; }
  const Implementation& slow() const { return table_[0]; }
  const Implementation& fast() const { return table_[1]; }
  bool fails = false;

 private:
  static std::unique_ptr<Kernel> compile_idle(const KernelRequest&, PackCache&) { return std::make_unique<Idle>(); }
  std::unique_ptr<Device> inner_ = create_reference_device();
  std::string fingerprint_;
  std::vector<Implementation> table_;
};

// [rows, 64] x [64, 64]; requests refer to it.
class Product {
 public:
  explicit Product(std::int64_t rows) : rows_(rows) {
    matmul(input(graph_, "a", DType::f32, {rows, 64}), input(graph_, "b", DType::f32, {64, 64}));
  }
  KernelRequest request() const {
    const Node& node = graph_.nodes().back();
    const auto operand = [](const Shape& shape) { return Operand{{DType::f32, shape}, row_major(shape)}; };
    return {*node.op, node.attributes, {operand({rows_, 64}), operand({64, 64})}, {operand({rows_, 64})}};
  }

 private:
  Graph graph_;
  std::int64_t rows_;
};

class TunerTest : public testing::Test {
 protected:
  Tuner tuner(Device& device, TuningMode mode = TuningMode::on) {
    return {device, mode, folder(), [this](const std::string& what) { warnings.push_back(what); }};
  }
  fs::path folder() const { return fs::path(temporary.path()) / "cache"; }

  test::TempDirectory temporary;
  std::vector<std::string> warnings;
};

TEST_F(TunerTest, MeasuresOnceAndReadsTheAnswerLater) {
  TwoRows device;
  Tuner first = tuner(device);
  EXPECT_EQ(&first.choose(Product(64).request()), &device.fast());
  EXPECT_EQ(&first.choose(Product(64).request()), &device.fast());
  EXPECT_EQ(first.measured(), 1u);
  Tuner second = tuner(device);
  EXPECT_EQ(&second.choose(Product(64).request()), &device.fast());
  EXPECT_EQ(second.measured(), 0u);
  EXPECT_EQ(&second.choose(Product(65).request()), &device.fast());
  EXPECT_EQ(second.measured(), 1u);
  EXPECT_TRUE(warnings.empty());
}

TEST_F(TunerTest, LeavesAnotherMachinesAnswersAlone) {
  TwoRows one("one"), other("other");
  tuner(one).choose(Product(64).request());
  Tuner second = tuner(other);
  second.choose(Product(64).request());
  EXPECT_EQ(second.measured(), 1u);
}

TEST_F(TunerTest, ReadsOnlyWhatIsThere) {
  TwoRows device;
  Tuner before = tuner(device, TuningMode::read_only);
  EXPECT_EQ(&before.choose(Product(64).request()), &device.slow());
  EXPECT_EQ(before.measured(), 0u);
  EXPECT_FALSE(fs::exists(folder()));
  tuner(device).choose(Product(64).request());
  EXPECT_EQ(&before.choose(Product(64).request()), &device.slow());  // what this process has chosen stays
  EXPECT_EQ(&tuner(device, TuningMode::read_only).choose(Product(64).request()), &device.fast());
}

TEST_F(TunerTest, MeasuresAgainWhatIsDamaged) {
  TwoRows device;
  tuner(device).choose(Product(64).request());
  for (const auto& entry : fs::directory_iterator(folder() / "tuning-1")) fs::resize_file(entry.path(), 10);
  Tuner again = tuner(device);
  EXPECT_EQ(&again.choose(Product(64).request()), &device.fast());
  EXPECT_EQ(again.measured(), 1u);
  EXPECT_EQ(warnings.size(), 1u);
  Tuner last = tuner(device);
  last.choose(Product(64).request());
  EXPECT_EQ(last.measured(), 0u);
}

// An answer of another build, whole as a file: a row that is gone, one that doesn't take the request, none at all.
TEST_F(TunerTest, MeasuresAgainWhatNamesNoRow) {
  TwoRows device;
  tuner(device).choose(Product(64).request());
  fs::path file;
  for (const auto& entry : fs::directory_iterator(folder() / "tuning-1")) file = entry.path();
  std::string key;
  std::getline(std::ifstream(file), key);
  const auto answer = [&] { return TuningCache(folder(), false, [](const std::string&) {}).find(key); };
  ASSERT_EQ(answer(), "idle");
  for (const char* unknown : {"a_kernel_that_is_gone", "panel_convolution", ""}) {
    SCOPED_TRACE(unknown);
    TuningCache(folder(), true, [](const std::string&) {}).keep(key, unknown);
    ASSERT_EQ(answer(), unknown);
    Tuner reads = tuner(device, TuningMode::read_only);
    EXPECT_EQ(&reads.choose(Product(64).request()), &device.slow());
    EXPECT_EQ(answer(), unknown);
    Tuner again = tuner(device);
    EXPECT_EQ(&again.choose(Product(64).request()), &device.fast());
    EXPECT_EQ(again.measured(), 1u);
    EXPECT_EQ(answer(), "idle");
  }
  EXPECT_TRUE(warnings.empty());
}

TEST_F(TunerTest, LeavesSmallWorkToTheTable) {
  TwoRows device;
  Tuner tuned = tuner(device);
  EXPECT_EQ(&tuned.choose(Product(1).request()), &device.slow());
  EXPECT_EQ(tuned.measured(), 0u);
}

TEST_F(TunerTest, SaysOnceThatItCannotMeasure) {
  TwoRows device;
  device.fails = true;
  Tuner tuned = tuner(device);
  EXPECT_EQ(&tuned.choose(Product(64).request()), &device.slow());
  EXPECT_EQ(&tuned.choose(Product(65).request()), &device.slow());
  EXPECT_EQ(warnings.size(), 1u);
  EXPECT_FALSE(fs::exists(folder()));
}

// A convolution that three kernels take: two plans of one process have the same kernels, and so the same bits.
TEST_F(TunerTest, GivesEqualPlansInOneProcess) {
  const std::unique_ptr<Device> device = create_device("cpu", 2);
  Graph graph;
  std::mt19937 random(5);
  std::vector<float> weights(64 * 64 * 9);
  for (float& weight : weights) weight = static_cast<float>(random() % 1000) * 1e-4f;
  const Var x = input(graph, "x", DType::f32, {1, 64, 28, 28});
  Windows same = Windows::unit(2);
  same.pad_low = same.pad_high = {1, 1};
  output("y", relu(convolution(
                  x, constant(graph, make_constant(DType::f32, {64, 64, 3, 3}, std::as_bytes(std::span(weights)))),
                  Var{}, same)));
  const auto shared = std::make_shared<Tuner>(*device, TuningMode::on, folder(), [](const std::string&) {});
  ProgramResources one(*device, nullptr, shared), two(*device, nullptr, shared), untuned(*device);
  const auto plan_of = [&](ProgramResources& resources) { return make_plan(graph, resources, {reference_evaluate()}); };
  const auto a = plan_of(one);
  EXPECT_EQ(shared->measured(), 1u);
  fs::remove_all(folder());
  EXPECT_EQ(plan_of(two)->fingerprint(), a->fingerprint());
  EXPECT_EQ(shared->measured(), 1u);
  EXPECT_EQ(one.packs().bytes(), two.packs().bytes());
}

TEST(TunerEnvironment, IsOffOnOrReadOnly) {
  const test::TempDirectory temporary;
  const std::unique_ptr<Device> device = create_reference_device();
  const auto set = [](const char* name, const char* value) { value ? setenv(name, value, 1) : unsetenv(name); };
  set("MLACCEL_TUNING_CACHE", std::string(temporary.path()).c_str());
  for (const char* off : {static_cast<const char*>(nullptr), "", "off"}) {
    set("MLACCEL_TUNING", off);
    EXPECT_EQ(tuner_from_environment(*device), nullptr);
  }
  for (const char* on : {"on", "read-only"}) {
    set("MLACCEL_TUNING", on);
    EXPECT_NE(tuner_from_environment(*device), nullptr);
  }
  set("MLACCEL_TUNING", "always");
  try {
    tuner_from_environment(*device);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("MLACCEL_TUNING is 'always'"), std::string::npos) << error.what();
  }
  set("MLACCEL_TUNING", nullptr);
  set("MLACCEL_TUNING_CACHE", nullptr);
}

}  // namespace
}  // namespace ml::runtime
