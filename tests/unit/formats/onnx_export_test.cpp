// Which nodes the exporter writes.
#include <gtest/gtest.h>

#include <string>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/graph/build_nn.h"

namespace ml {
namespace {

onnx::pb::Graph exported(const Graph& graph) {
  std::string bytes;
  onnx::export_model(graph, [&](std::span<const std::byte> piece) {
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  onnx::pb::Model model;
  EXPECT_TRUE(model.ParseFromString(bytes));
  return model.graph();
}

std::string types(const onnx::pb::Graph& graph) {
  std::string text;
  for (const auto& node : graph.node()) text += (text.empty() ? "" : " ") + node.op_type();
  return text;
}

TEST(OnnxExport, AMinimumOfAMaximumIsAClip) {
  Graph graph;
  output("y", clamp(input(graph, "x", DType::f32, {2, 3}), 0, 6));
  EXPECT_EQ(types(exported(graph)), "Clip");
}

TEST(OnnxExport, AMaximumThatIsReadElsewhereIsWrittenToo) {
  Graph graph;
  const Var positive = maximum(input(graph, "x", DType::f32, {2, 3}), 0.0);
  output("y", minimum(positive, 6.0));
  output("positive", positive);
  EXPECT_EQ(types(exported(graph)), "Max Clip");
}

TEST(OnnxExport, BoundsThatAreNoScalarsStayMinAndMax) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 3});
  output("y", minimum(maximum(x, 0.0), input(graph, "bounds", DType::f32, {3})));
  EXPECT_EQ(types(exported(graph)), "Max Min");
}

TEST(OnnxExport, StatisticsThatNobodyReadsAreNotAskedFor) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 3}), w = input(graph, "w", DType::f32, {3});
  const Norm norm = layer_norm(x, w, w);
  output("y", norm.y);
  EXPECT_EQ(exported(graph).node(0).output_size(), 1);
  output("mean", norm.mean);
  EXPECT_EQ(exported(graph).node(0).output_size(), 2);
}

}  // namespace
}  // namespace ml
