// What is said of ONNX models when they are loaded: their inputs, and the files of functions that they call.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "ml/model.h"
#include "ml/ops.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/client/expected.h"
#include "tests/unit/client/protobuf.h"

namespace ml {
namespace {

using Names = std::vector<std::string>;

constexpr std::uint64_t kFloat = 1, kInt64 = 7, kBool = 9;  // TensorProto.DataType
constexpr std::int64_t kMany = 20000;                       // elements: more than are computed with while importing

std::string named(const std::string& name, const std::string& type) { return field(1, name) + field(2, type); }
std::string tensor_type(std::uint64_t dtype) { return field(1, field(1, dtype)); }  // of any rank
std::string vector_type(std::uint64_t dtype, std::int64_t extent) {
  return field(1, field(1, dtype) + field(2, field(1, field(1, static_cast<std::uint64_t>(extent)))));
}
std::string scalar_type(std::uint64_t dtype) { return field(1, field(1, dtype) + field(2, std::string())); }
std::string sequence_type(const std::string& element) { return field(4, field(1, element)); }
std::string optional_type(const std::string& content) { return field(9, field(1, content)); }

std::string node(const std::string& op, const Names& inputs, const Names& outputs, const std::string& more = {}) {
  std::string bytes = field(4, op) + more;
  for (const std::string& name : inputs) bytes += field(1, name);
  for (const std::string& name : outputs) bytes += field(2, name);
  return bytes;
}
std::string attribute(const char* name, const std::string& value) {
  return field(5, field(1, std::string(name)) + value);
}
std::string opset(const std::string& domain, std::uint64_t version) {
  return field(8, field(1, domain) + field(2, version));
}
const std::string kDomain = field(7, std::string("com.example"));  // of a node

std::string model(const std::string& nodes, const std::string& inputs, const std::string& outputs) {
  return field(1, 10) + field(7, nodes + field(2, std::string("g")) + inputs + outputs) + opset("", 21) +
         opset("com.example", 1);
}

// y = a function of x f32[kMany], called with scale 2.
std::string calling(const std::string& function) {
  const std::string scale = attribute("scale", float_field(2, 2));
  return model(field(1, node(function, {"x"}, {"y"}, kDomain + scale)),
               field(11, named("x", vector_type(kFloat, kMany))), field(12, named("y", vector_type(kFloat, kMany))));
}
// The function: a + scale * t, where t f32[kMany] is `value` everywhere.
std::string library(const std::string& function, float value) {
  const std::vector<float> values(kMany, value);
  const std::string raw(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  const std::string tensor = field(1, kMany) + field(2, kFloat) + field(9, raw);
  const std::string scale = field(1, std::string("value_float")) + field(21, std::string("scale"));
  const std::string body = field(7, node("Constant", {}, {"t"}, attribute("value", field(5, tensor)))) +
                           field(7, node("Constant", {}, {"s"}, field(5, scale))) +
                           field(7, node("Mul", {"t", "s"}, {"st"})) + field(7, node("Add", {"a", "st"}, {"sum"}));
  return field(1, 10) + field(25, field(1, function) + field(4, std::string("a")) + field(5, std::string("sum")) +
                                      field(6, std::string("scale")) + body + field(9, field(2, 21)) +
                                      field(10, std::string("com.example")));
}

class OnnxOptionsTest : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& bytes) const {
    std::string path = (folder_.path() / name).string();
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path;
  }

  test::TempDirectory folder_;
};

Names names_of(const std::vector<ModelPort>& ports) {
  Names names;
  for (const ModelPort& port : ports) names.push_back(port.name);
  return names;
}

TEST_F(OnnxOptionsTest, SayHowManyTensorsASequenceHolds) {
  const std::string joined = node("ConcatFromSequence", {"s"}, {"y"}, attribute("axis", field(3, std::uint64_t{0})));
  const std::string path =
      write("model.onnx", model(field(1, joined), field(11, named("s", sequence_type(tensor_type(kFloat)))),
                                field(12, named("y", tensor_type(kFloat)))));
  EXPECT_EQ(code_of([&] { load_onnx(path); }), Code::unsupported);
  const Model loaded = load_onnx(path, {.inputs = {{"s", {.shapes = {{2}, {-1}}}}}});
  ASSERT_EQ(names_of(loaded.inputs()), (Names{"s.0", "s.1"}));
  EXPECT_EQ(loaded.inputs()[0].shape, Shape{2});
  EXPECT_EQ(loaded.inputs()[1].shape, Shape{-1});
  EXPECT_EQ(loaded.run({tensor({1.F, 2.F}), tensor({3.F})})[0].to_vector<float>(), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(load_onnx(path, {.inputs = {{"s", {.shapes = {{1}, {1}, {1}}}}}}).inputs().size(), 3U);
}

TEST_F(OnnxOptionsTest, SayWhichRankATensorHas) {
  const std::string path =
      write("model.onnx", model(field(1, node("Neg", {"x"}, {"y"})), field(11, named("x", tensor_type(kFloat))),
                                field(12, named("y", tensor_type(kFloat)))));
  EXPECT_EQ(code_of([&] { load_onnx(path); }), Code::unsupported);
  const Model loaded = load_onnx(path, {.inputs = {{"x", {.shapes = {{-1, 2}}}}}});
  EXPECT_EQ(loaded.run({tensor({1.F, 2.F}).reshape({1, 2})})[0].to_vector<float>(), (std::vector<float>{-1, -2}));
}

TEST_F(OnnxOptionsTest, SayWhetherAnOptionalHoldsSomething) {
  const std::string path = write("model.onnx", model(field(1, node("OptionalHasElement", {"o"}, {"y"})),
                                                     field(11, named("o", optional_type(vector_type(kFloat, 2)))),
                                                     field(12, named("y", scalar_type(kBool)))));
  EXPECT_EQ(code_of([&] { load_onnx(path); }), Code::unsupported);
  const Model without = load_onnx(path, {.inputs = {{"o", {.present = false}}}});
  EXPECT_TRUE(without.inputs().empty());
  EXPECT_FALSE(without.run(std::vector<Tensor>())[0].item<bool>());
  const Model with = load_onnx(path, {.inputs = {{"o", {}}}});
  ASSERT_EQ(names_of(with.inputs()), Names{"o"});
  EXPECT_TRUE(with.run({tensor({1.F, 2.F})})[0].item<bool>());
}

TEST_F(OnnxOptionsTest, MakeAnInputAConstant) {
  const std::string path =
      write("model.onnx",
            model(field(1, node("SplitToSequence", {"x", "size"}, {"s"})) +
                      field(1, node("SequenceLength", {"s"}, {"n"})) + field(1, node("Add", {"x", "w"}, {"y"})),
                  field(11, named("x", vector_type(kFloat, kMany))) + field(11, named("size", scalar_type(kInt64))) +
                      field(11, named("w", vector_type(kFloat, kMany))),
                  field(12, named("n", scalar_type(kInt64))) + field(12, named("y", vector_type(kFloat, kMany)))));
  EXPECT_EQ(code_of([&] { load_onnx(path); }), Code::unsupported);
  OnnxOptions options;
  options.inputs["size"].value = tensor(std::int64_t{8000});
  options.inputs["w"].value = full({kMany}, 3) + 1;  // not computed yet
  const Model loaded = load_onnx(path, options);
  options = {};
  EXPECT_EQ(names_of(loaded.inputs()), Names{"x"});
  const std::vector<Tensor> results = loaded.run({full({kMany}, 1)});
  EXPECT_EQ(results[0].item<std::int64_t>(), 3);
  EXPECT_EQ(results[1].to_vector<float>(), std::vector<float>(kMany, 5));
}

// What docs/onnx.md shows.
TEST_F(OnnxOptionsTest, AreSaidOfSeveralInputs) {
  const std::string nodes =
      field(1, node("ConcatFromSequence", {"boxes"}, {"y"}, attribute("axis", field(3, std::uint64_t{0})))) +
      field(1, node("OptionalHasElement", {"prompt"}, {"has"})) +
      field(1, node("SplitToSequence", {"x", "size"}, {"s"})) + field(1, node("SequenceLength", {"s"}, {"n"}));
  const std::string inputs = field(11, named("boxes", sequence_type(tensor_type(kFloat)))) +
                             field(11, named("prompt", optional_type(tensor_type(kFloat)))) +
                             field(11, named("x", vector_type(kFloat, 6))) +
                             field(11, named("size", scalar_type(kInt64)));
  const std::string outputs = field(12, named("y", tensor_type(kFloat))) + field(12, named("has", scalar_type(kBool))) +
                              field(12, named("n", scalar_type(kInt64)));
  ml::OnnxOptions options;
  options.inputs["boxes"].shapes = {{-1, 4}, {1, 4}};
  options.inputs["prompt"].present = false;
  options.inputs["size"].value = ml::tensor(std::int64_t{4});
  const ml::Model detector = ml::load_onnx(write("detector.onnx", model(nodes, inputs, outputs)), options);
  ASSERT_EQ(names_of(detector.inputs()), (Names{"boxes.0", "boxes.1", "x"}));
  const std::vector<Tensor> results = detector.run({ones({2, 4}), zeros({1, 4}), ones({6})});
  EXPECT_EQ(results[0].shape(), (Shape{3, 4}));
  EXPECT_FALSE(results[1].item<bool>());
  EXPECT_EQ(results[2].item<std::int64_t>(), 2);
}

TEST_F(OnnxOptionsTest, NameFilesWhoseFunctionsAreCalled) {
  const std::string twice =
      model(field(1, node("First", {"x"}, {"h"}, kDomain + attribute("scale", float_field(2, 1)))) +
                field(1, node("Other", {"h"}, {"y"}, kDomain + attribute("scale", float_field(2, 2)))),
            field(11, named("x", vector_type(kFloat, kMany))), field(12, named("y", vector_type(kFloat, kMany))));
  const std::string path = write("model.onnx", twice);
  EXPECT_EQ(code_of([&] { load_onnx(path); }), Code::unsupported);
  // Their tensors have the same place in both.
  const OnnxOptions options{.functions = {write("a.onnx", library("First", 10)), write("b.onnx", library("Other", 7))}};
  const Model loaded = load_onnx(path, options);
  for (const std::string& file : options.functions) std::filesystem::remove(file);
  const Tensor x = full({kMany}, 1);
  const std::vector<float> wanted(kMany, 1 + 10 + 2 * 7);
  EXPECT_EQ(loaded.run({x})[0].to_vector<float>(), wanted);
  loaded.save((folder_.path() / "saved").string());
  EXPECT_EQ(Model::load((folder_.path() / "saved").string()).run({x})[0].to_vector<float>(), wanted);
}

TEST_F(OnnxOptionsTest, ComeAfterTheModelsOwnFunctions) {
  const std::string path = write("model.onnx", calling("Shift") + library("Shift", 100));
  const Model loaded = load_onnx(path, {.functions = {write("a.onnx", library("Shift", 10))}});
  EXPECT_EQ(loaded.run({full({kMany}, 1)})[0].to_vector<float>(), std::vector<float>(kMany, 201));
}

TEST_F(OnnxOptionsTest, ThatDoNotFitAreRefused) {
  const std::string path = write("model.onnx", calling("Shift")), a = write("a.onnx", library("Shift", 1)),
                    b = write("b.onnx", library("Shift", 2)), none = write("none.onnx", "this is no model"),
                    missing = (folder_.path() / "missing.onnx").string();
  const Tensor one = tensor(1.F);
  struct Case {
    OnnxOptions options;
    Code code;
    std::vector<std::string> parts;  // of the message
  };
  const Case cases[] = {
      {{}, Code::unsupported, {path, "Shift (domain 'com.example', version 1)", "a file whose functions"}},
      {{.inputs = {{"z", {.value = one}}}, .functions = {a}}, Code::invalid_argument, {path, "no input 'z'", "'x'"}},
      {{.inputs = {{"z", {.shapes = {{2}}}}}, .functions = {a}}, Code::invalid_argument, {path, "no input 'z'", "'x'"}},
      {{.inputs = {{"x", {.shapes = {{2}}}}}, .functions = {a}},
       Code::invalid_argument,
       {"input 'x'", "[2]", "[20000]"}},
      {{.inputs = {{"x", {.value = one}}}, .functions = {a}},
       Code::invalid_argument,
       {"input 'x'", "f32[]", "f32[20000]"}},
      {{.inputs = {{"x", {.shapes = {{2}}, .value = one}}}}, Code::invalid_argument, {"'x' has a value and a form"}},
      {{.inputs = {{"x", {.present = false, .value = one}}}}, Code::invalid_argument, {"'x' has a value and a form"}},
      {{.functions = {a, b}}, Code::invalid_argument, {path, a, b, "'com.example.Shift'"}},
      {{.functions = {none}}, Code::corrupt, {path, none, "not a protobuf message"}},
      {{.functions = {path}}, Code::corrupt, {"functions of '" + path + "'", "no functions"}},
      {{.functions = {missing}}, Code::not_found, {missing}},
      {{.functions = {folder_.path().string()}}, Code::io, {folder_.path().string()}},
  };
  for (const Case& c : cases) {
    const std::string message = message_of([&] { load_onnx(path, c.options); });
    EXPECT_EQ(code_of([&] { load_onnx(path, c.options); }), c.code) << message;
    for (const std::string& part : c.parts) EXPECT_NE(message.find(part), std::string::npos) << part << ": " << message;
  }
}

}  // namespace
}  // namespace ml
