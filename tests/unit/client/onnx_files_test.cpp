// ONNX models with data in files of their own, by path: only what lies in the model's folder is read.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "ml/model.h"
#include "mlclient.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/client/expected.h"
#include "tests/unit/client/protobuf.h"

namespace ml {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kCount = 2000;  // large enough that the weights are a blob of their own

// y = x + w; w f32[2000] is the last 8000 bytes of a file of 8004.
std::string model_bytes(const std::string& location) {
  const auto entry = [](const char* key, const std::string& value) {
    return field(13, field(1, std::string(key)) + field(2, value));
  };
  const std::string w = field(1, kCount) + field(2, 1) + field(8, std::string("w")) + entry("location", location) +
                        entry("offset", "4") + entry("length", "8000") + field(14, 1);
  const std::string type = field(1, field(1, 1) + field(2, field(1, field(1, kCount))));
  const auto port = [&](const char* name) { return field(1, std::string(name)) + field(2, type); };
  const std::string node = field(1, std::string("x")) + field(1, std::string("w")) + field(2, std::string("y")) +
                           field(4, std::string("Add"));
  const std::string graph =
      field(1, node) + field(2, std::string("g")) + field(5, w) + field(11, port("x")) + field(12, port("y"));
  return field(1, 10) + field(7, graph) + field(8, field(2, 21));
}

class OnnxFiles : public testing::Test {
 protected:
  OnnxFiles() {
    fs::create_directories(folder_.path() / "model" / "sub");
    weights_[0] = -1;
    for (std::size_t i = 1; i < weights_.size(); ++i) weights_[i] = static_cast<float>(i % 97);
  }
  std::string inside(const std::string& name) const { return (folder_.path() / "model" / name).string(); }
  void write(const std::string& path, const std::string& bytes) const {
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  std::string weight_bytes() const {
    return {reinterpret_cast<const char*>(weights_.data()), weights_.size() * sizeof(float)};
  }
  std::string load(const std::string& location) const {
    write(inside("model.onnx"), model_bytes(location));
    return message_of([&] { load_onnx(inside("model.onnx")); });
  }
  void expect_sums(const Model& model) const {
    const std::vector<float> got = model.run({full({static_cast<std::int64_t>(kCount)}, 1)})[0].to_vector<float>();
    ASSERT_EQ(got.size(), kCount);
    for (std::size_t i = 0; i < kCount; ++i) ASSERT_EQ(got[i], weights_[i + 1] + 1) << i;
  }

  test::TempDirectory folder_;
  std::vector<float> weights_ = std::vector<float>(kCount + 1);
};

TEST_F(OnnxFiles, AreReadFromTheModelsFolder) {
  write(inside("sub/w.bin"), weight_bytes());
  write(inside("model.onnx"), model_bytes("sub/w.bin"));
  expect_sums(load_onnx(inside("model.onnx")));
  ml_model* model = nullptr;
  ASSERT_EQ(ml_model_load(inside("model.onnx").c_str(), &model), 0) << ml_last_error();
  ml_model_free(model);
  const fs::path before = fs::current_path();
  fs::current_path(folder_.path() / "model");
  const Model by_name = load_onnx("model.onnx");
  fs::current_path(before);
  expect_sums(by_name);
}

TEST_F(OnnxFiles, StayWithTheModelWhenTheyAreGone) {
  write(inside("w.bin"), weight_bytes());
  write(inside("model.onnx"), model_bytes("w.bin"));
  const Model model = load_onnx(inside("model.onnx"));
  fs::remove_all(folder_.path() / "model");
  expect_sums(model);
  model.save((folder_.path() / "saved").string());
  expect_sums(Model::load((folder_.path() / "saved").string()));
}

TEST_F(OnnxFiles, MayBeLinksWithinTheFolder) {
  write(inside("sub/w.bin"), weight_bytes());
  fs::create_symlink("sub/w.bin", inside("link"));
  write(inside("model.onnx"), model_bytes("link"));
  expect_sums(load_onnx(inside("model.onnx")));
}

TEST_F(OnnxFiles, AreRefusedOutsideOfTheFolder) {
  write((folder_.path() / "w.bin").string(), weight_bytes());
  write(inside("sub/w.bin"), weight_bytes());
  fs::create_symlink("../w.bin", inside("out"));
  fs::create_symlink(folder_.path(), inside("folder"));
  fs::create_symlink("/proc/self/fd", inside("magic"));
  fs::create_symlink("loop", inside("loop"));
  ASSERT_EQ(mkfifo(inside("pipe").c_str(), 0600), 0);
  struct Case {
    std::string location;
    const char* message;
  };
  const Case cases[] = {
      {"../w.bin", "leaves the model's folder"},
      {inside("sub/w.bin"), "an absolute path"},
      {"out", "leads out of it"},
      {"folder/w.bin", "leads out of it"},
      {"magic/0", "leads out of it"},
      {"loop", "leads out of it"},
      {"pipe", "it is no regular file"},
      {"sub", "cannot be read"},
      {"w.bin", "cannot be opened: No such file"},
      {"model.onnx/w.bin", "cannot be opened: Not a directory"},
  };
  for (const Case& c : cases) {
    const std::string message = load(c.location);
    EXPECT_NE(message.find(c.message), std::string::npos) << c.location << ": " << message;
    EXPECT_NE(message.find("model.onnx"), std::string::npos) << "the model is not named: " << message;
  }
}

TEST_F(OnnxFiles, ThatAreTooShortAreRefused) {
  write(inside("w.bin"), weight_bytes().substr(0, 8003));
  const std::string message = load("w.bin");
  EXPECT_NE(message.find("8000 bytes at byte 4 of 'w.bin', which has 8003"), std::string::npos) << message;
  write(inside("w.bin"), "");
  EXPECT_NE(load("w.bin").find("which has 0"), std::string::npos);
}

}  // namespace
}  // namespace ml
