// Models in files, ONNX, and the C interface on the same model.
#include "ml/model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "ml/session.h"
#include "tests/unit/client/allocations.h"
#include "tests/unit/client/expected.h"

extern "C" int use_the_c_interface(const char* model_path, char* problem, std::size_t problem_size);

namespace ml {
namespace {

namespace fs = std::filesystem;

class Models : public testing::Test {
 protected:
  static std::string path(const std::string& name) { return testing::TempDir() + "mlclient_model_" + name; }

  // Large enough that its weights are blobs of their own.
  static nn::Sequential network() {
    manual_seed(2);
    return nn::Sequential(nn::Conv2d(1, 8, 3, {.padding = 1}), nn::BatchNorm2d(8), nn::ReLU(), nn::MaxPool2d(2),
                          nn::Linear(8 * 14 * 14, 10), nn::Softmax());
  }
  static Tensor images(std::int64_t count) {
    Generator generator(6);
    return randn({count, 1, 28, 28}, generator).eval();
  }
  static Model traced(nn::Module& net) { return Model::trace(net, {{"image", DType::f32, {-1, 1, 28, 28}}}); }
};

TEST_F(Models, RunAsTheModuleTheyWereTracedFrom) {
  nn::Sequential net = network();
  const Model model = traced(net);
  EXPECT_TRUE(net.is_training());
  net.eval();
  for (const std::int64_t count : {1, 3, 8}) {
    const Tensor x = images(count);
    const std::vector<Tensor> results = model.run({x});
    ASSERT_EQ(results.size(), 1U);
    expect_close(results[0], net(x), "batch " + std::to_string(count));
  }
}

// What the kernel was told of the mapping of a file: the flags of its line in smaps.
std::string mapping_flags(const std::string& path) {
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.ends_with(path)) inside = true;
    if (inside && line.starts_with("VmFlags:")) return line;
  }
  return {};
}

TEST_F(Models, AreMappedInHugePagesWhereThereAreSome) {
  nn::Sequential net = network();
  traced(net).save(path("mapped"));
  const Model loaded = Model::load(path("mapped"));
  const std::string flags = mapping_flags(path("mapped"));
  ASSERT_NE(flags, "");
  EXPECT_EQ(flags.find(" hg") != std::string::npos, fs::exists("/sys/kernel/mm/transparent_hugepage")) << flags;
}

TEST_F(Models, ComeBackFromAFile) {
  nn::Sequential net = network();
  const Model model = traced(net);
  model.save(path("file"));
  const Model loaded = Model::load(path("file"));
  ASSERT_EQ(loaded.inputs().size(), 1U);
  EXPECT_EQ(loaded.inputs()[0].name, "image");
  EXPECT_EQ(loaded.inputs()[0].shape, (Shape{-1, 1, 28, 28}));
  EXPECT_EQ(loaded.inputs()[0].symbols[0], "batch");
  const Tensor x = images(4);
  const std::vector<nn::NamedTensor> named{{"image", x}};
  EXPECT_EQ(loaded.run(named)[0].to_vector<float>(), model.run({x})[0].to_vector<float>());
  fs::remove(path("file"));
}

TEST_F(Models, OfOneShapePlanOnce) {
  nn::Sequential net = network();
  const Model model = traced(net);
  const Tensor two = images(2), five = images(5);
  model.run({two});
  const std::uint64_t compiled = default_session().statistics().programs_compiled;
  model.run({two});
  model.run({five});
  EXPECT_EQ(default_session().statistics().programs_compiled, compiled);
}

TEST_F(Models, SayWhatDoesNotFit) {
  nn::Sequential net = network();
  const Model model = traced(net);
  EXPECT_EQ(message_of([&] {
              model.run({ones({2, 1, 28, 27})});
            }),
            "run: input 'image' is f32[2, 1, 28, 27], the model wants f32[?, 1, 28, 28]");
  EXPECT_EQ(message_of([&] {
              model.run({ones({2, 1, 28, 28}, DType::f64)});
            }),
            "run: input 'image' is f64[2, 1, 28, 28], the model wants f32[?, 1, 28, 28]");
  EXPECT_EQ(message_of([&] {
              model.run(std::vector<nn::NamedTensor>{{"picture", images(1)}});
            }),
            "run: input 'image' is missing");
  const Model two = Model::trace([](std::span<const Tensor> t) -> std::vector<Tensor> { return {t[0] + t[1]}; },
                                 {{"a", DType::f32, {-1}}, {"b", DType::f32, {-1}}});
  EXPECT_NE(message_of([&] {
              two.run({ones({2}), ones({3})});
            }).find("'batch' is 3 in input 'b' and 2 in another"),
            std::string::npos);
}

TEST_F(Models, PreparedRunsComputeWithoutAllocating) {
  const Model model = Model::trace([](std::span<const Tensor> t) -> std::vector<Tensor> { return {t[0] * 2 + 1}; },
                                   {{"x", DType::f32, {-1}}});
  const Shape shapes[] = {{64}};
  PreparedRun prepared = model.prepare(shapes);
  ASSERT_EQ(prepared.output_shape(0), (Shape{64}));
  auto* const x = reinterpret_cast<float*>(prepared.input(0).data());
  const auto* const y = reinterpret_cast<const float*>(prepared.output(0).data());
  prepared.run();
  const std::uint64_t before = allocations_of_this_thread();
  for (int round = 0; round < 1000; ++round) {
    x[5] = static_cast<float>(round);
    prepared.run();
    if (y[5] != 2 * static_cast<float>(round) + 1) FAIL() << round << ": " << y[5];
  }
  EXPECT_EQ(allocations_of_this_thread(), before);
}

TEST_F(Models, PreparedRunsCanBeStartedAndLookedAfter) {
  const Model model = Model::trace([](std::span<const Tensor> t) -> std::vector<Tensor> { return {t[0] * 2 + 1}; },
                                   {{"x", DType::f32, {-1}}});
  const Shape shapes[] = {{8}};
  PreparedRun prepared = model.prepare(shapes);
  EXPECT_TRUE(prepared.done());
  reinterpret_cast<float*>(prepared.input(0).data())[3] = 4;
  prepared.start();
  while (!prepared.done()) continue;
  prepared.wait();
  EXPECT_EQ(reinterpret_cast<const float*>(prepared.output(0).data())[3], 9);
  prepared.start();
  prepared.wait();
}

TEST_F(Models, DamagedFilesAreRefused) {
  nn::Sequential net = network();
  traced(net).save(path("damaged"));
  std::ifstream file(path("damaged"), std::ios::binary);
  const std::vector<char> whole{std::istreambuf_iterator<char>(file), {}};
  const auto load_with = [&](std::vector<char> bytes) {
    std::ofstream(path("damaged"), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return code_of([&] { Model::load(path("damaged")); });
  };
  for (const std::size_t size : {std::size_t{0}, std::size_t{30}, std::size_t{200}, whole.size() - 1})
    EXPECT_EQ(load_with({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}), Code::corrupt) << size;
  for (std::size_t at = 0; at < 48; ++at) {  // the header and the first blob's place
    std::vector<char> bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x41);
    EXPECT_NE(load_with(bytes), Code{}) << at;
  }
  fs::remove(path("damaged"));
  EXPECT_EQ(code_of([&] { Model::load(path("damaged")); }), Code::not_found);
}

TEST_F(Models, GoThroughOnnx) {
  nn::Sequential net = network();
  const Model model = traced(net);
  save_onnx(model, path("net.onnx"));
  const Model loaded = load_onnx(path("net.onnx"));
  const Tensor x = images(3);
  expect_close(loaded.run({x})[0], model.run({x})[0], "through ONNX");
  std::ofstream(path("net.onnx"), std::ios::binary) << "not a model";
  EXPECT_EQ(code_of([&] { load_onnx(path("net.onnx")); }), Code::corrupt);
  fs::remove(path("net.onnx"));
}

TEST_F(Models, RunThroughTheCInterface) {
  const Model model = Model::trace([](std::span<const Tensor> t) -> std::vector<Tensor> { return {t[0] * 2 + 1}; },
                                   {{"x", DType::f32, {-1, 3}}});
  model.save(path("c"));
  char problem[256] = "";
  EXPECT_EQ(use_the_c_interface(path("c").c_str(), problem, sizeof problem), 0) << problem;
  fs::remove(path("c"));
}

}  // namespace
}  // namespace ml
