// What operators meant in old operator sets, of which ONNX's tests have few models.
#include <gtest/gtest.h>

#include <functional>

#include "tests/unit/formats/onnx_models.h"

namespace ml {
namespace {

using namespace onnx_models;

struct Operand {
  std::vector<int> dims;
  std::vector<float> values;
};

// One node of operator set `version` on f32 inputs.
Model one_node(const std::string& type, int version, const std::vector<Operand>& operands,
               const std::function<void(onnx::pb::Node&)>& attributes = {}, int outputs = 1) {
  Model model = empty_model(version);
  auto& graph = *model.mutable_graph();
  auto& node = *graph.add_node();
  node.set_op_type(type);
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const std::string name = "x" + std::to_string(i);
    add_value(graph.mutable_input(), name, {});
    auto* shape = graph.mutable_input(static_cast<int>(i))->mutable_type()->mutable_tensor_type()->mutable_shape();
    for (const int dim : operands[i].dims) shape->add_dim()->set_dim_value(dim);
    node.add_input(name);
  }
  for (int i = 0; i < outputs; ++i) {
    node.add_output("y" + std::to_string(i));
    graph.add_output()->set_name("y" + std::to_string(i));
  }
  if (attributes) attributes(node);
  return model;
}

std::vector<HostTensor> results_of(const Model& model, const std::vector<Operand>& operands) {
  std::vector<HostTensor> inputs;
  for (const Operand& operand : operands) {
    Shape shape;
    for (const int dim : operand.dims) shape.append(dim);
    inputs.push_back(floats(shape, operand.values));
  }
  return run(import_proto(model), inputs);
}

std::function<void(onnx::pb::Node&)> broadcast(std::optional<int> axis = {}) {
  return [axis](onnx::pb::Node& node) {
    set(node, "broadcast", 1);
    if (axis) set(node, "axis", *axis);
  };
}

TEST(OnnxVersions, OperandsWereBroadcastAlongAnAxis) {
  const Operand a{{2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7}};
  struct Case {
    Operand b;
    std::optional<int> axis;
    std::vector<float> wanted;
  };
  const Case cases[] = {
      {{{2}, {10, 20}}, {}, {10, 21, 12, 23, 14, 25, 16, 27}},
      {{{2}, {10, 20}}, 0, {10, 11, 12, 13, 24, 25, 26, 27}},
      {{{2}, {10, 20}}, 1, {10, 11, 22, 23, 14, 15, 26, 27}},
      {{{2, 2}, {10, 20, 30, 40}}, 0, {10, 11, 22, 23, 34, 35, 46, 47}},
      {{{1, 1}, {10}}, {}, {10, 11, 12, 13, 14, 15, 16, 17}},
  };
  for (const Case& c : cases) {
    const std::vector<Operand> operands{a, c.b};
    for (const int version : {1, 6})
      EXPECT_EQ(floats_of(results_of(one_node("Add", version, operands, broadcast(c.axis)), operands)[0]), c.wanted);
  }
}

TEST(OnnxVersions, OperandsWereEqualWithoutTheAttribute) {
  const std::vector<Operand> operands{{{2, 2}, {}}, {{2}, {}}};
  EXPECT_EQ(message_of(one_node("Mul", 6, operands)),
            "invalid_argument: node 0 (Mul): shapes [2, 2] and [2] differ and attribute 'broadcast' is not set");
  EXPECT_EQ(message_of(one_node("Mul", 6, operands, broadcast(1))), "imported");
  EXPECT_EQ(message_of(one_node("Mul", 6, {operands[1], operands[0]}, broadcast())),
            "invalid_argument: node 0 (Mul): shapes [2] and [2, 2]: only the second operand can be broadcast");
  EXPECT_EQ(message_of(one_node("Mul", 7, operands)), "imported");
}

TEST(OnnxVersions, SlopesWereOnePerChannel) {
  const std::vector<Operand> operands{{{1, 2, 2}, {-1, 1, -1, 1}}, {{2}, {10, 20}}};
  EXPECT_EQ(floats_of(results_of(one_node("PRelu", 6, operands), operands)[0]), (std::vector<float>{-10, 1, -20, 1}));
  EXPECT_EQ(floats_of(results_of(one_node("PRelu", 7, operands), operands)[0]), (std::vector<float>{-10, 1, -10, 1}));
}

TEST(OnnxVersions, ElementTypesHadNames) {
  const std::vector<Operand> operands{{{2}, {1.5F, -2}}};
  const auto to = [](const char* name) { return [name](onnx::pb::Node& n) { add_attribute(n, "to").set_s(name); }; };
  const Graph graph = import_proto(one_node("Cast", 1, operands, to("INT32")));
  EXPECT_EQ(graph.type(graph.outputs()[0].value).dtype, DType::i32);
  EXPECT_EQ(message_of(one_node("Cast", 5, operands, to("QUATERNION"))),
            "unsupported: node 0 (Cast): a Cast to 'QUATERNION', which is not supported");
}

TEST(OnnxVersions, ShapesAndSizesWereAttributesOrFloats) {
  const std::vector<Operand> x{{{2, 3}, {1, 2, 3, 4, 5, 6}}};
  const Graph reshaped = import_proto(one_node("Reshape", 1, x, [](onnx::pb::Node& n) {
    set(n, "shape", std::vector<std::int64_t>{0, -1, 1});
  }));
  EXPECT_EQ(reshaped.type(reshaped.outputs()[0].value).shape, (Shape{2, 3, 1}));

  const std::vector<Operand> sized{x[0], {{2}, {1, 2}}};
  const auto parts = results_of(one_node(
                                    "Split", 1, sized, [](onnx::pb::Node& n) { set(n, "axis", 1); }, 2),
                                sized);
  EXPECT_EQ(floats_of(parts[0]), (std::vector<float>{1, 4}));
  EXPECT_EQ(floats_of(parts[1]), (std::vector<float>{2, 3, 5, 6}));
  const auto halves = results_of(one_node("Split", 1, x, {}, 2), x);
  EXPECT_EQ(floats_of(halves[1]), (std::vector<float>{4, 5, 6}));

  const std::vector<Operand> tiled{x[0], {{}, {2}}, {{}, {1}}};
  EXPECT_EQ(floats_of(results_of(one_node("Tile", 1, tiled), tiled)[0]),
            (std::vector<float>{1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6}));
}

TEST(OnnxVersions, AttributesThatSayNothingAreSkipped) {
  const std::vector<Operand> x{{{2}, {-1, 2}}};
  const auto consumed = [](onnx::pb::Node& n) { set(n, "consumed_inputs", std::vector<std::int64_t>{0}); };
  for (const char* type : {"Relu", "Clip", "Elu", "LeakyRelu", "HardSigmoid", "Sigmoid", "Tanh", "Exp", "Neg", "Ceil"})
    EXPECT_EQ(message_of(one_node(type, 1, x, consumed)), "imported") << type;
  EXPECT_EQ(floats_of(results_of(one_node("Relu", 1, x, consumed), x)[0]), (std::vector<float>{0, 2}));
}

TEST(OnnxVersions, DefaultsHadFewerDigits) {
  const std::vector<Operand> x{{{1}, {1}}};
  EXPECT_EQ(floats_of(results_of(one_node("Selu", 1, x), x)[0]), (std::vector<float>{1.0507F}));
  EXPECT_EQ(floats_of(results_of(one_node("Selu", 6, x), x)[0]), (std::vector<float>{1.05070102214813232421875F}));
  const std::vector<Operand> two{{{1, 1}, {1}}, {{1, 1}, {2}}};
  EXPECT_EQ(floats_of(results_of(one_node("Concat", 1, two), two)[0]), (std::vector<float>{1, 2})) << "axis 1";
}

}  // namespace
}  // namespace ml
