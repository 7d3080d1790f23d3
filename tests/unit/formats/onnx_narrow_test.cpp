// Narrow dtypes in ONNX files, what casts to them mean, and what quantization refuses.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/import.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/tensor.h"
#include "engine/graph/build.h"
#include "engine/graph/scalar.h"
#include "engine/runtime/evaluate.h"
#include "engine/runtime/resources.h"
#include "ml/error.h"

namespace ml {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();

using Attributes = std::vector<std::pair<const char*, std::variant<std::int64_t, const char*>>>;

void add_value(google::protobuf::RepeatedPtrField<onnx::pb::ValueInfo>* list, const std::string& name,
               const TensorType& type) {
  auto* info = list->Add();
  info->set_name(name);
  auto* tensor = info->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(onnx::onnx_type_of(type.dtype));
  tensor->mutable_shape();
  for (const std::int64_t dim : type.shape.dims()) tensor->mutable_shape()->add_dim()->set_dim_value(dim);
}

// One node on inputs a, b, ... of these types.
onnx::pb::Model model_of(const char* op, int opset, const std::vector<TensorType>& inputs,
                         const Attributes& attributes) {
  onnx::pb::Model model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(opset);
  onnx::pb::Graph& graph = *model.mutable_graph();
  graph.set_name("g");
  auto* node = graph.add_node();
  node->set_op_type(op);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string name(1, static_cast<char>('a' + i));
    add_value(graph.mutable_input(), name, inputs[i]);
    node->add_input(name);
  }
  node->add_output("y");
  add_value(graph.mutable_output(), "y", {DType::f32, {}});
  for (const auto& [name, value] : attributes) {
    auto* attribute = node->add_attribute();
    attribute->set_name(name);
    if (const auto* number = std::get_if<std::int64_t>(&value))
      attribute->set_i(*number);
    else
      attribute->set_s(std::get<const char*>(value));
  }
  return model;
}

Graph import_proto(const onnx::pb::Model& model) {
  const std::string bytes = model.SerializeAsString();
  return onnx::import_model(Blob::copy_of(std::as_bytes(std::span(bytes))), runtime::reference_evaluate());
}
std::string message_of(const onnx::pb::Model& model) {
  try {
    import_proto(model);
  } catch (const Error& error) {
    return error.what();
  }
  return "imported";
}
std::vector<std::byte> exported(const Graph& graph) {
  std::vector<std::byte> bytes;
  onnx::export_model(graph,
                     [&](std::span<const std::byte> piece) { bytes.insert(bytes.end(), piece.begin(), piece.end()); });
  return bytes;
}
Graph exported_and_imported(const Graph& graph) {
  return onnx::import_model(Blob::copy_of(exported(graph)), runtime::reference_evaluate());
}

HostTensor tensor(DType dtype, const std::vector<double>& values) {
  HostTensor result{dtype, Shape{static_cast<std::int64_t>(values.size())}, {}};
  const std::size_t size = dtype_size(dtype);
  result.bytes.resize(values.size() * size);
  for (std::size_t i = 0; i < values.size(); ++i) store_double(dtype, &result.bytes[i * size], values[i]);
  return result;
}
std::vector<double> values_of(const HostTensor& tensor) {
  std::vector<double> values;
  for (std::size_t at = 0; at < tensor.bytes.size(); at += dtype_size(tensor.dtype))
    values.push_back(load_double(tensor.dtype, &tensor.bytes[at]));
  return values;
}
std::vector<double> run(const Graph& graph, const std::vector<HostTensor>& inputs) {
  const auto device = create_reference_device();
  return values_of(evaluate(graph, *device, inputs)[0]);
}
void expect_same(const std::vector<double>& got, const std::vector<double>& wanted, const std::string& what) {
  ASSERT_EQ(got.size(), wanted.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT_TRUE(got[i] == wanted[i] || (std::isnan(got[i]) && std::isnan(wanted[i])))
        << what << ": element " << i << " is " << got[i] << ", not " << wanted[i];
}

TEST(OnnxNarrow, TensorsComeBackFromAFile) {
  for (int number = static_cast<int>(DType::f8e4m3fn); number <= kDTypeCount; ++number) {
    const auto dtype = static_cast<DType>(number);
    for (const std::int64_t count : {0, 1, 7, 5001}) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(count));
      for (std::size_t i = 0; i < bytes.size(); ++i) store_int(dtype, &bytes[i], static_cast<std::int64_t>(i % 5));
      Graph graph;
      output("y", constant(graph, make_constant(dtype, {count}, bytes)));
      const Graph again = exported_and_imported(graph);
      const Node* node = again.producer(again.outputs()[0].value);
      while (node->op->kind != OpKind::constant) node = again.producer(node->inputs[0]);
      const ConstantData& value = *node->as<ConstantAttributes>().value;
      EXPECT_EQ(value.dtype, dtype);
      EXPECT_TRUE(std::ranges::equal(value.bytes(), bytes)) << dtype_name(dtype) << " " << count;
    }
  }
}

TEST(OnnxNarrow, TensorsMayBePackedInIntegers) {
  onnx::pb::Model model = model_of("Identity", 25, {}, {});
  model.mutable_graph()->mutable_node(0)->add_input("w");
  auto* w = model.mutable_graph()->add_initializer();
  w->set_name("w");
  w->set_data_type(22);
  w->add_dims(3);
  w->add_int32_data(0xe1);
  w->add_int32_data(0x07);
  expect_same(run(import_proto(model), {}), {1, -2, 7}, "i4");
  w->add_int32_data(0);
  EXPECT_EQ(message_of(model), "tensor 'w': i4[3] needs 2 bytes, the file has 3");
}

TEST(OnnxNarrow, CastsToFloat8SaturateUnlessToldNotTo) {
  const std::vector<double> values{1000, -1000, 1e9, kInfinity, -kInfinity, kNan, 0.3};
  const struct {
    int to;
    std::int64_t saturate;
    std::vector<double> wanted;
  } cases[] = {{17, 1, {448, -448, 448, 448, -448, kNan, 0.3125}},
               {17, 0, {kNan, kNan, kNan, kNan, kNan, kNan, 0.3125}},
               {19, 1, {1024, -1024, 57344, 57344, -57344, kNan, 0.3125}},
               {19, 0, {1024, -1024, kInfinity, kInfinity, -kInfinity, kNan, 0.3125}},
               {18, 1, {240, -240, 240, 240, -240, kNan, 0.3125}},
               {20, 0, {1024, -1024, kNan, kNan, kNan, kNan, 0.3125}}};
  for (const auto& c : cases) {
    for (const DType from : {DType::f32, DType::f64}) {
      const Graph graph =
          import_proto(model_of("Cast", 19, {{from, {7}}}, {{"to", std::int64_t{c.to}}, {"saturate", c.saturate}}));
      expect_same(run(graph, {tensor(from, values)}), c.wanted, "to " + std::to_string(c.to));
      expect_same(run(exported_and_imported(graph), {tensor(from, values)}), c.wanted, "exported");
    }
  }
  const Graph integers = import_proto(model_of("Cast", 19, {{DType::i32, {2}}}, {{"to", std::int64_t{17}}}));
  expect_same(run(integers, {tensor(DType::i32, {100000, -3})}), {448, -3}, "integers");
}

TEST(OnnxNarrow, CastsToExponentsRoundAsTold) {
  const std::vector<double> values{1, 1.25, 1.5, 3.1, 0x1p-127, 0x1.8p-127, 0x1p-130, 0, 0x1.4p127, kInfinity, kNan};
  constexpr double kLeast = 0x1p-127, kMost = 0x1p127;
  const struct {
    const char* mode;
    std::int64_t saturate;
    std::vector<double> wanted;
  } cases[] = {{"up", 1, {1, 2, 2, 4, kLeast, 0x1p-126, kLeast, kLeast, kMost, kMost, kNan}},
               {"down", 1, {1, 1, 1, 2, kLeast, kLeast, kLeast, kLeast, kMost, kMost, kNan}},
               {"nearest", 1, {1, 1, 2, 4, kLeast, 0x1p-126, kLeast, kLeast, kMost, kMost, kNan}},
               {"nearest", 0, {1, 1, 2, 4, kLeast, 0x1p-126, kNan, kNan, kMost, kNan, kNan}},
               {"up", 0, {1, 2, 2, 4, kLeast, 0x1p-126, kNan, kNan, kNan, kNan, kNan}}};
  for (const auto& c : cases) {
    for (const DType from : {DType::f32, DType::f64}) {
      const Graph graph = import_proto(model_of(
          "Cast", 24, {{from, {11}}}, {{"to", std::int64_t{24}}, {"saturate", c.saturate}, {"round_mode", c.mode}}));
      const std::string what = std::string(c.mode) + (c.saturate != 0 ? " and saturated" : "");
      expect_same(run(graph, {tensor(from, values)}), c.wanted, what);
      expect_same(run(exported_and_imported(graph), {tensor(from, values)}), c.wanted, what + ", exported");
    }
  }
  EXPECT_EQ(message_of(model_of("Cast", 24, {{DType::f32, {2}}}, {{"to", std::int64_t{24}}, {"round_mode", "even"}})),
            "node 0 (Cast): round_mode 'even' is neither up, down nor nearest");
}

TEST(OnnxNarrow, CastsOfTheGraphToNarrowIntegersSaturateInAFileToo) {
  Graph graph;
  output("y", cast(input(graph, "x", DType::f32, {4}), DType::i4));
  const std::vector<HostTensor> x{tensor(DType::f32, {-100, -2.7, 3.9, 100})};
  expect_same(run(graph, x), {-8, -2, 3, 7}, "graph");
  expect_same(run(exported_and_imported(graph), x), {-8, -2, 3, 7}, "file");
}

TEST(OnnxNarrow, BitCastWantsEqualWidths) {
  EXPECT_EQ(message_of(model_of("BitCast", 26, {{DType::f32, {2}}}, {{"to", std::int64_t{5}}})),
            "node 0 (BitCast): bit_cast: f32[2] has elements of another width than i16");
  EXPECT_EQ(message_of(model_of("BitCast", 26, {{DType::u4, {2}}}, {{"to", std::int64_t{2}}})),
            "node 0 (BitCast): bit_cast: u4[2] has elements of another width than u8");
  const Graph truth = import_proto(model_of("BitCast", 26, {{DType::u8, {3}}}, {{"to", std::int64_t{9}}}));
  expect_same(run(truth, {tensor(DType::u8, {0, 1, 255})}), {0, 1, 1}, "bool");
  const Graph bits = import_proto(model_of("BitCast", 26, {{DType::u4, {2}}}, {{"to", std::int64_t{23}}}));
  expect_same(run(bits, {tensor(DType::u4, {1, 15})}), {0.5, -6}, "4 bits");
}

TEST(OnnxNarrow, FollowsTheOperatorSetThatBroughtBitCast) {
  EXPECT_NE(message_of(model_of("BitCast", 25, {{DType::f32, {2}}}, {{"to", std::int64_t{6}}})).find("BitCast"),
            std::string::npos);
}

TEST(OnnxQuantize, SaysWhatDoesNotFit) {
  const TensorType x{DType::f32, {2, 6}}, scale{DType::f32, {}};
  const struct {
    onnx::pb::Model model;
    const char* message;
  } cases[] = {
      {model_of("QuantizeLinear", 21, {x, scale, {DType::u8, {}}}, {{"output_dtype", std::int64_t{3}}}),
       "output_dtype is i8, the zero point is of u8"},
      {model_of("QuantizeLinear", 21, {x, scale}, {{"output_dtype", std::int64_t{7}}}),
       "quantize: makes integers of at most 16 bits and narrow floats, not i64"},
      {model_of("QuantizeLinear", 13, {x, {DType::f32, {3}}}, {}), "f32[3], is not one number for each of f32[2, 6]"},
      {model_of("QuantizeLinear", 13, {x, {DType::f32, {6}}}, {{"axis", std::int64_t{2}}}), "axis 2 is outside"},
      {model_of("QuantizeLinear", 21, {x, {DType::f32, {2, 4}}}, {{"block_size", std::int64_t{2}}}),
       "is not one number for 2 elements"},
      {model_of("QuantizeLinear", 21, {x, {DType::f32, {2, 3}}}, {{"block_size", std::int64_t{-2}}}),
       "block_size is -2"},
      {model_of("DequantizeLinear", 21, {{DType::u8, {2}}, scale, {DType::i8, {}}}, {}),
       "the zero point is of i8, the tensor of u8"},
  };
  for (const auto& c : cases)
    EXPECT_NE(message_of(c.model).find(c.message), std::string::npos)
        << c.message << "\n  says: " << message_of(c.model);
}

// What ONNX has of 8-bit operands is in the file what it was, and comes back as what it was.
TEST(OnnxQuantize, ProductsOfBytesComeBackFromAFile) {
  const TensorType u8{DType::u8, {}}, f32{DType::f32, {}};
  const onnx::pb::Model models[] = {
      model_of("MatMulInteger", 10, {{DType::u8, {2, 3}}, {DType::i8, {3, 4}}}, {}),
      model_of("MatMulInteger", 10, {{DType::u8, {2, 3}}, {DType::i8, {3, 4}}, u8, {DType::i8, {4}}}, {}),
      model_of("ConvInteger", 10, {{DType::u8, {1, 2, 5}}, {DType::i8, {3, 2, 2}}, u8, {DType::i8, {3}}}, {}),
      model_of("QLinearConv", 10,
               {{DType::u8, {1, 2, 5}},
                f32,
                u8,
                {DType::i8, {3, 2, 2}},
                {DType::f32, {3}},
                {DType::i8, {3}},
                f32,
                u8,
                {DType::i32, {3}}},
               {}),
  };
  for (const onnx::pb::Model& model : models) {
    const Graph graph = import_proto(model);
    const Graph again = exported_and_imported(graph);
    std::vector<HostTensor> inputs;
    std::uint8_t next = 1;
    for (const GraphInput& in : graph.inputs()) {
      const TensorType& type = graph.type(in.value);
      HostTensor tensor{
          type.dtype, type.shape,
          std::vector<std::byte>(static_cast<std::size_t>(type.shape.elements()) * dtype_size(type.dtype))};
      for (std::size_t at = 0; at < tensor.bytes.size(); at += dtype_size(type.dtype))
        store_int(type.dtype, &tensor.bytes[at], next = static_cast<std::uint8_t>(next * 5 + 3));
      inputs.push_back(std::move(tensor));
    }
    expect_same(run(again, inputs), run(graph, inputs), model.graph().node(0).op_type());
    onnx::pb::Model file;
    const std::vector<std::byte> bytes = exported(graph);
    ASSERT_TRUE(file.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
    const auto& nodes = file.graph().node();
    EXPECT_TRUE(std::ranges::any_of(nodes, [](const auto& node) { return node.op_type().ends_with("Integer"); }));
    // The casts to i32 that nobody reads any more are not there.
    EXPECT_TRUE(std::ranges::none_of(nodes, [](const auto& node) {
      return node.op_type() == "Cast" && node.attribute(0).i() == onnx::onnx_type_of(DType::i32);
    }));
  }
}

TEST(OnnxQuantize, ExportsAsItself) {
  const std::vector<TensorType> types{{DType::f32, {2, 6}}, {DType::f32, {2, 2}}, {DType::i4, {2, 2}}};
  const Graph graph = import_proto(model_of("QuantizeLinear", 21, types, {{"block_size", std::int64_t{3}}}));
  const Graph again = exported_and_imported(graph);
  EXPECT_TRUE(equal(graph, again));
}

}  // namespace
}  // namespace ml
