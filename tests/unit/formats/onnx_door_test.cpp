// What the C door takes of a model's inputs and of libraries, and what it refuses.
#include <gtest/gtest.h>

#include <cstddef>

#include "engine/formats/embedded_formats.h"
#include "engine/graph/binary.h"
#include "tests/unit/formats/onnx_models.h"

namespace ml {
namespace {

using namespace onnx_models;

// y = x + q; q is a tensor whose rank the file leaves open.
Model sum() {
  Model model = empty_model();
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "x", {-1, 3});
  add_value(graph.mutable_input(), "q", {});
  graph.mutable_input(1)->mutable_type()->mutable_tensor_type()->clear_shape();
  add_value(graph.mutable_output(), "y", {-1, 3});
  add_node(model, "Add", {"x", "q"}, {"y"});
  return model;
}

struct Answer {
  std::int32_t code = 0;
  std::string error;
  std::vector<std::byte> graph;
  std::vector<std::shared_ptr<const Blob>> blobs;
};

Answer answer_to(const Model& model, const mlengine_onnx_options& options) {
  const std::string bytes = model.SerializeAsString();
  Answer answer;
  const auto take_graph = [](void* context, const void* data, std::uint64_t size) -> std::int32_t {
    const auto* at = static_cast<const std::byte*>(data);
    static_cast<Answer*>(context)->graph.assign(at, at + size);
    return 0;
  };
  const auto take_blob = [](void* context, const void* data, std::uint64_t size) -> std::int32_t {
    const std::span<const std::byte> blob(static_cast<const std::byte*>(data), static_cast<std::size_t>(size));
    static_cast<Answer*>(context)->blobs.push_back(Blob::copy_of(blob));
    return 0;
  };
  answer.code = mlengine_onnx_import(bytes.data(), bytes.size(), &options, take_graph, take_blob, &answer);
  answer.error = mlengine_error();
  return answer;
}

mlengine_onnx_options options_for(const mlengine_onnx_input& input) {
  mlengine_onnx_options options{};
  options.size = sizeof(options);
  options.inputs = &input;
  options.input_count = 1;
  return options;
}

constexpr mlengine_shape kRow{2, 0, {1, 3}};
constexpr float kValue[] = {1, 2, 3};
constexpr mlengine_onnx_input kForm{"q", &kRow, 1, 0, 0, 0, {nullptr, 0}};
constexpr mlengine_onnx_input kConstant{"q", &kRow, 1, 0, MLRING_F32, 0, {kValue, sizeof(kValue)}};

TEST(OnnxDoor, TakesFormsAndValues) {
  const Answer form = answer_to(sum(), options_for(kForm)), value = answer_to(sum(), options_for(kConstant));
  ASSERT_EQ(form.code, 0) << form.error;
  ASSERT_EQ(value.code, 0) << value.error;
  const HostTensor x = floats({1, 3}, {10, 20, 30});
  const Graph with_input = deserialize(form.graph, form.blobs), constant = deserialize(value.graph, value.blobs);
  EXPECT_EQ(floats_of(run(with_input, {x, floats({1, 3}, {4, 5, 6})})[0]), (std::vector<float>{14, 25, 36}));
  EXPECT_EQ(floats_of(run(constant, {x})[0]), (std::vector<float>{11, 22, 33}));
}

TEST(OnnxDoor, ReadsNothingThatAnOlderCallerLacks) {
  mlengine_onnx_options options = options_for(kForm);
  options.size = offsetof(mlengine_onnx_options, inputs);
  options.inputs = nullptr;
  EXPECT_EQ(answer_to(small_model(), options).code, 0);
  options.size = sizeof(options);
  EXPECT_EQ(answer_to(small_model(), options).error, "inputs: 1 of them at null");
}

TEST(OnnxDoor, RefusesInputsThatCannotBe) {
  const auto changed = [](const mlengine_onnx_input& from, auto change) {
    mlengine_onnx_input input = from;
    change(input);
    return input;
  };
  static constexpr mlengine_shape kDeep{MLRING_RANK_MAX + 1, 0, {}}, kNegative{1, 0, {-2}}, kOpen{1, 0, {-1}};
  static constexpr mlengine_shape kHuge{2, 0, {std::int64_t{1} << 40, std::int64_t{1} << 40}}, kTwo[] = {kRow, kRow};
  using Input = mlengine_onnx_input;
  struct Case {
    mlengine_onnx_input input;
    const char* message;
  };
  const Case cases[] = {
      {changed(kForm, [](Input& in) { in.name = nullptr; }), "an input's name is null"},
      {changed(kForm, [](Input& in) { in.shapes = nullptr; }), "shapes: 1 of them at null"},
      {changed(kForm, [](Input& in) { in.shapes = &kDeep; }), "a shape of rank 9, 8 is the most"},
      {changed(kForm, [](Input& in) { in.shapes = &kNegative; }), "-2"},
      {changed(kConstant, [](Input& in) { in.value_dtype = 99; }), "its value's dtype is 99"},
      {changed(kConstant, [](Input& in) { in.absent = 1; }), "a value is present and has one shape, all of it known"},
      {changed(kConstant, [](Input& in) { in.shape_count = 0; }), "a value is present and has one shape"},
      {changed(kConstant,
               [](Input& in) {
                 in.shapes = kTwo;
                 in.shape_count = 2;
               }),
       "a value is present and has one shape"},
      {changed(kConstant, [](Input& in) { in.shapes = &kOpen; }), "a value is present and has one shape"},
      {changed(kConstant, [](Input& in) { in.shapes = &kHuge; }), "1099511627776"},
      {changed(kConstant, [](Input& in) { in.value.data = nullptr; }), "bytes of its value: 12 of them at null"},
      {changed(kConstant, [](Input& in) { in.value.bytes = 11; }), "its value f32[1, 3] needs 12 bytes, there are 11"},
      {changed(kConstant, [](Input& in) { in.value_dtype = MLRING_F64; }), "needs 24 bytes, there are 12"},
  };
  for (const Case& c : cases) {
    const Answer answer = answer_to(sum(), options_for(c.input));
    EXPECT_EQ(answer.code, -static_cast<std::int32_t>(Code::invalid_argument)) << c.message;
    EXPECT_NE(answer.error.find(c.message), std::string::npos) << answer.error;
    EXPECT_NE(answer.error.find(c.input.name == nullptr ? "name" : "input 'q'"), std::string::npos) << answer.error;
  }
  const mlengine_onnx_input twice[] = {kForm, kConstant};
  mlengine_onnx_options options = options_for(twice[0]);
  options.input_count = 2;
  EXPECT_NE(answer_to(sum(), options).error.find("it is there twice"), std::string::npos);
}

TEST(OnnxDoor, TakesLibraries) {
  Model model = small_model();
  model.mutable_graph()->mutable_node(0)->set_op_type("Negative");
  model.mutable_graph()->mutable_node(0)->set_domain("local");
  Model library;
  add_node(add_function(library, "Negative", {"v"}, {"w"}), "Neg", {"v"}, {"w"});
  const std::string bytes = library.SerializeAsString();
  mlengine_onnx_library file{"a.onnx", {bytes.data(), bytes.size()}};
  mlengine_onnx_options options{};
  options.size = sizeof(options);
  options.libraries = &file;
  options.library_count = 1;
  const Answer answer = answer_to(model, options);
  ASSERT_EQ(answer.code, 0) << answer.error;
  EXPECT_EQ(floats_of(run(deserialize(answer.graph, answer.blobs), {floats({1, 3}, {1, 2, 3})})[0]),
            (std::vector<float>{-1, -2, -3}));
  file.file.data = nullptr;
  EXPECT_NE(answer_to(model, options).error.find("bytes of a library"), std::string::npos);
  file = {nullptr, {bytes.data(), bytes.size()}};
  EXPECT_EQ(answer_to(model, options).error, "a library's name is null");
  options.libraries = nullptr;
  EXPECT_EQ(answer_to(model, options).error, "libraries: 1 of them at null");
}

}  // namespace
}  // namespace ml
