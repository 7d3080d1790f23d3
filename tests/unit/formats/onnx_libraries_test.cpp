// Functions from other files than the model's: what nodes of other domains mean then, and which files are refused.
#include <gtest/gtest.h>

#include <map>

#include "tests/unit/formats/onnx_models.h"

namespace ml {
namespace {

using namespace onnx_models;

constexpr std::int64_t kMany = 20000;  // elements: more than are computed with while importing

onnx::pb::Tensor floats_tensor(std::int64_t count, float first) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = first + static_cast<float>(i);
  onnx::pb::Tensor tensor;
  tensor.set_data_type(1);
  tensor.add_dims(count);
  tensor.set_raw_data(values.data(), values.size() * sizeof(float));
  return tensor;
}

// sum = a + scale * t, where t = first, first + 1, ...; scale is 1 unless the call says otherwise.
void add_shift(Model& library, const std::string& name, std::int64_t count, float first) {
  auto& function = add_function(library, name, {"a"}, {"sum"});
  auto& scale = *function.add_attribute_proto();
  scale.set_name("scale");
  scale.set_f(1);
  *add_attribute(add_node(function, "Constant", {}, {"t"}), "value").mutable_t() = floats_tensor(count, first);
  add_attribute(add_node(function, "Constant", {}, {"s"}), "value_float").set_ref_attr_name("scale");
  add_node(function, "Mul", {"t", "s"}, {"st"});
  add_node(function, "Add", {"a", "st"}, {"sum"});
}
Model library_of(const std::string& name, std::int64_t count = 3, float first = 10) {
  Model library;
  add_shift(library, name, count, first);
  return library;
}

onnx::pb::Node& call(Model& model, const std::string& function, std::initializer_list<const char*> inputs,
                     std::initializer_list<const char*> outputs) {
  auto& node = add_node(model, function, inputs, outputs);
  node.set_domain("local");
  return node;
}

// y = function(x) for x of `count`.
Model calling(const std::string& function, int count = 3) {
  Model model = empty_model();
  auto* set = model.add_opset_import();
  set->set_domain("local");
  set->set_version(1);
  add_value(model.mutable_graph()->mutable_input(), "x", {count});
  add_value(model.mutable_graph()->mutable_output(), "y", {count});
  call(model, function, {"x"}, {"y"});
  return model;
}

onnx::FunctionLibrary file_of(const std::string& name, const Model& library) {
  return {name, blob_of(library.SerializeAsString())};
}
onnx::ImportOptions with(std::vector<onnx::FunctionLibrary> libraries) {
  onnx::ImportOptions options;
  options.functions = std::move(libraries);
  return options;
}

std::vector<float> answer(const Model& model, const onnx::ImportOptions& options, const std::vector<float>& x) {
  return floats_of(run(import_proto(model, options), {floats({static_cast<std::int64_t>(x.size())}, x)})[0]);
}

TEST(OnnxLibraries, SayWhatNodesMean) {
  Model model = calling("Shift");
  add_attribute(*model.mutable_graph()->mutable_node(0), "scale").set_f(2);
  call(model, "Other", {"y"}, {"z"});
  model.mutable_graph()->mutable_output(0)->set_name("z");
  Model second = library_of("Unused");
  auto& other = add_function(second, "Other", {"v"}, {"w"});
  add_node(other, "Shift", {"v"}, {"u"}).set_domain("local");  // a function of another library
  add_node(other, "Neg", {"u"}, {"w"});
  const auto options = with({file_of("a.onnx", library_of("Shift")), file_of("b.onnx", second)});
  EXPECT_EQ(answer(model, options, {1, 2, 3}), (std::vector<float>{-31, -35, -39})) << "-(x + 2 t + t)";
}

TEST(OnnxLibraries, AreLookedAtForTheirFunctionsOnly) {
  Model library = small_model();
  library.mutable_opset_import(0)->set_version(99);
  library.mutable_graph()->mutable_node(0)->set_op_type("Frobnicate");
  add_shift(library, "Shift", 3, 10);
  EXPECT_EQ(answer(calling("Shift"), with({file_of("a.onnx", library)}), {0, 0, 0}), (std::vector<float>{10, 11, 12}));
}

TEST(OnnxLibraries, ComeAfterTheModelsOwnFunctions) {
  Model model = calling("Shift");
  add_shift(model, "Shift", 3, 100);
  // Neither of them is asked, so it doesn't matter that there are two.
  const auto options = with({file_of("a.onnx", library_of("Shift")), file_of("b.onnx", library_of("Shift"))});
  EXPECT_EQ(answer(model, options, {0, 0, 0}), (std::vector<float>{100, 101, 102}));
  model.mutable_functions(0)->set_overload("mine");
  EXPECT_EQ(answer(model, with({file_of("a.onnx", library_of("Shift"))}), {0, 0, 0}), (std::vector<float>{10, 11, 12}));
}

// Two files in which a tensor has the same place, and the model one of its own there.
TEST(OnnxLibraries, KeepTheirLargeTensors) {
  Model model = calling("Aaaaa", static_cast<int>(kMany));
  call(model, "Bbbbb", {"y"}, {"z"});
  auto& w = *model.mutable_graph()->add_initializer();
  w = floats_tensor(kMany, 300);
  w.set_name("w");
  add_node(model, "Add", {"z", "w"}, {"sum"});
  model.mutable_graph()->mutable_output(0)->set_name("sum");
  const auto a = file_of("a.onnx", library_of("Aaaaa", kMany, 10)),
             b = file_of("b.onnx", library_of("Bbbbb", kMany, 200));
  const auto file = blob_of(model.SerializeAsString());
  const Graph graph = onnx::import_model(file, runtime::reference_evaluate(), with({a, b}));
  std::map<const Blob*, int> constants;
  for (const Node& node : graph.nodes()) {
    if (node.op->kind == OpKind::constant) ++constants[node.as<ConstantAttributes>().value->blob.get()];
  }
  for (const auto& blob : {file, a.file, b.file}) EXPECT_EQ(constants[blob.get()], 1);
  const auto y = floats_of(run(graph, {floats({kMany}, std::vector<float>(kMany, 1))})[0]);
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], 511 + 3 * static_cast<float>(i)) << i;
}

TEST(OnnxLibraries, KeepTensorsOfEveryKind) {
  // Sparse, with its values in the file; i4, which is unpacked from the file; and one in a default.
  Model library;
  auto& function = add_function(library, "Many", {"a"}, {"sum"});
  function.mutable_opset_import(0)->set_version(21);
  auto& sparse = *add_attribute(add_node(function, "Constant", {}, {"s"}), "sparse_value").mutable_sparse_tensor();
  *sparse.mutable_values() = floats_tensor(kMany, 1);
  sparse.add_dims(kMany);
  auto& indices = *sparse.mutable_indices();
  indices.set_data_type(7);
  indices.add_dims(kMany);
  for (std::int64_t i = 0; i < kMany; ++i) indices.add_int64_data(i);
  auto& packed = *add_attribute(add_node(function, "Constant", {}, {"p4"}), "value").mutable_t();
  packed.set_data_type(22);
  packed.add_dims(2 * kMany);
  packed.set_raw_data(std::string(kMany, '\x21'));  // 1, 2, 1, 2, ...
  set(add_node(function, "Cast", {"p4"}, {"p"}), "to", std::int64_t{1});
  set(add_node(function, "Reshape", {"p", "shape"}, {"pairs"}), "allowzero", std::int64_t{0});
  set(add_node(function, "Constant", {}, {"shape"}), "value_ints", std::vector<std::int64_t>{kMany, 2});
  set(add_node(function, "ReduceSum", {"pairs", "last"}, {"three"}), "keepdims", std::int64_t{0});
  set(add_node(function, "Constant", {}, {"last"}), "value_ints", std::vector<std::int64_t>{1});
  auto& bias = *function.add_attribute_proto();
  bias.set_name("bias");
  *bias.mutable_t() = floats_tensor(kMany, 500);
  add_attribute(add_node(function, "Constant", {}, {"b"}), "value").set_ref_attr_name("bias");
  add_node(function, "Sum", {"a", "s", "three", "b"}, {"sum"});
  const auto y = answer(calling("Many", static_cast<int>(kMany)), with({file_of("a.onnx", library)}),
                        std::vector<float>(kMany, 0));
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], 504 + 2 * static_cast<float>(i)) << i;
}

TEST(OnnxLibraries, TakeNoPlaceFromAFile) {
  Model library = library_of("Shift", kMany);
  auto& tensor = *library.mutable_functions(0)->mutable_node(0)->mutable_attribute(0)->mutable_t();
  tensor.set_source(9);
  EXPECT_EQ(message_of(calling("Shift", static_cast<int>(kMany)), with({file_of("a.onnx", library)})), "imported");
  tensor.clear_raw_data();
  tensor.set_lifted_offset(std::uint64_t{1} << 40);
  tensor.set_lifted_length(kMany * sizeof(float));
  EXPECT_EQ(
      message_of(calling("Shift", static_cast<int>(kMany)), with({file_of("a.onnx", library)})),
      "corrupt: node 0 (Shift): node 0 (Constant): attribute 'value': tensor '': f32[20000] needs 80000 bytes, the "
      "file has 0");
}

TEST(OnnxLibraries, OpenNoFiles) {
  Model library = library_of("Shift");
  auto& tensor = *library.mutable_functions(0)->mutable_node(0)->mutable_attribute(0)->mutable_t();
  tensor.clear_raw_data();
  tensor.set_data_location(1);
  auto& entry = *tensor.add_external_data();
  entry.set_key("location");
  entry.set_value("w.bin");
  onnx::ImportOptions options = with({file_of("a.onnx", library)});
  options.open = [](const std::string& location) -> std::shared_ptr<const Blob> {
    ADD_FAILURE() << location << " was opened";
    throw Error(Code::not_found, location);
  };
  EXPECT_EQ(message_of(calling("Shift"), options),
            "unsupported: node 0 (Shift): node 0 (Constant): attribute 'value': tensor '': its data lies in another "
            "file, 'w.bin', and it is a tensor of 'a.onnx' (save the functions with their tensors inside)");
}

TEST(OnnxLibraries, MayNotSayTheSameTwice) {
  const auto a = file_of("a.onnx", library_of("Shift")), b = file_of("b.onnx", library_of("Shift"));
  EXPECT_EQ(message_of(calling("Shift"), with({a, b})),
            "invalid_argument: functions of 'b.onnx': the function 'local.Shift' is in 'a.onnx' too (give one of the "
            "two files)");
  Model other = library_of("Shift"), twice = library_of("Shift");
  other.mutable_functions(0)->set_overload("b");
  add_shift(twice, "Shift", 3, 20);
  EXPECT_EQ(message_of(calling("Shift"), with({a, file_of("c.onnx", other)})), "imported");
  EXPECT_EQ(message_of(calling("Shift"), with({file_of("d.onnx", twice)})),
            "corrupt: functions of 'd.onnx': the function 'local.Shift' is defined twice");
}

TEST(OnnxLibraries, SayNothingOfOnnxsDomainsAndTheEngines) {
  for (const char* domain : {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "org.mlaccel"}) {
    Model library = library_of("Shift");
    library.mutable_functions(0)->set_domain(domain);
    EXPECT_EQ(message_of(small_model(), with({file_of("a.onnx", library)})),
              "invalid_argument: functions of 'a.onnx': the function '" + std::string(domain) +
                  ".Shift' is of a domain that is ONNX's or this engine's own (give it, and the nodes that call it, "
                  "another domain)");
  }
}

TEST(OnnxLibraries, ThatAreNoneAreRefused) {
  const std::string whole = library_of("Shift").SerializeAsString();
  struct Case {
    std::string bytes;
    const char* message;
  };
  const Case cases[] = {
      {"", "it has no functions (FunctionProto)"},
      {small_model().SerializeAsString(), "it has no functions (FunctionProto)"},
      {"#!/bin/sh\n", "not a protobuf message"},
      {whole.substr(0, whole.size() - 1), "not a protobuf message"},
      {std::string("\x42\x01\xff", 3), "a field has the wrong type"},
  };
  for (const Case& c : cases) {
    const std::string message = message_of(small_model(), with({{"a.onnx", blob_of(c.bytes)}}));
    EXPECT_TRUE(message.starts_with("corrupt: functions of 'a.onnx'")) << message;
    EXPECT_NE(message.find(c.message), std::string::npos) << message;
  }
}

TEST(OnnxLibraries, MayHaveAnyByteWrong) {
  constexpr std::int64_t kCount = 260;  // a little more than what stays in the file
  const Model model = calling("Shift", static_cast<int>(kCount));
  const std::string whole = library_of("Shift", kCount).SerializeAsString();
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const int change : {0x01, 0x08, 0x80, 0xff}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(bytes[i] ^ change);
      try {
        verify(import_proto(model, with({{"a.onnx", blob_of(bytes)}})));
      } catch (const Error& error) {
        EXPECT_NE(error.code(), Code::internal) << i << ": " << error.what();
      }
    }
  }
}

TEST(OnnxLibraries, AreRefusedWhereFunctionsCallEachOtherInCircles) {
  Model a, b;
  add_node(add_function(a, "Ping", {"v"}, {"w"}), "Pong", {"v"}, {"w"}).set_domain("local");
  add_node(add_function(b, "Pong", {"v"}, {"w"}), "Ping", {"v"}, {"w"}).set_domain("local");
  EXPECT_EQ(message_of(calling("Ping"), with({file_of("a.onnx", a), file_of("b.onnx", b)})),
            "corrupt: function 'local.Pong', #0: the function 'local.Ping' calls itself");
}

}  // namespace
}  // namespace ml
