#include <gtest/gtest.h>

#include <string>

#include "engine/graph/build_nn.h"
#include "engine/passes/passes.h"

namespace ml::passes {
namespace {

// The ops in order; of a joined node "join(those of its body)".
std::string ops(const Graph& graph) {
  std::string text;
  for (const Node& node : graph.nodes()) {
    if (node.op->kind == OpKind::constant) continue;
    text += text.empty() ? "" : " ";
    if (node.op->name == "fused_contraction")
      text += "join(" + ops(*node.as<BodyAttributes>().body) + ")";
    else
      text += node.op->name;
  }
  return text;
}

bool all(const Graph&, const Node&) { return true; }
// A device that takes two nodes behind a product.
bool short_ones(const Graph&, const Node& node) { return node.as<BodyAttributes>().body->nodes().size() <= 3; }

std::string joined(const Graph& graph, const KeepRule& keep = all) {
  const Graph result = join_epilogues(graph, keep);
  verify(result);
  return ops(result);
}

struct Operands {
  Graph graph;
  Var x = input(graph, "x", DType::f32, {4, 8}), w = input(graph, "w", DType::f32, {8, 8});
  Var b = input(graph, "b", DType::f32, {8}), r = input(graph, "r", DType::f32, {4, 8});
};

TEST(Epilogues, TakeBiasActivationAndResidual) {
  Operands o;
  output("y", gelu(matmul(o.x, o.w) + o.b) + o.r);
  EXPECT_EQ(joined(o.graph), "join(matmul add gelu add)");
}

TEST(Epilogues, TakeAsMuchAsTheDeviceDoes) {
  Operands o;
  output("y", gelu(matmul(o.x, o.w) + o.b) + o.r);
  EXPECT_EQ(joined(o.graph, short_ones), "join(matmul add gelu) add");
  EXPECT_EQ(joined(o.graph, [](const Graph&, const Node&) { return false; }), "matmul add gelu add");
}

TEST(Epilogues, FollowAConvolution) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {1, 2, 5, 5}), w = input(graph, "w", DType::f32, {2, 2, 1, 1});
  output("y", relu(convolution(x, w, input(graph, "b", DType::f32, {2}), Windows::unit(2)) + x));
  EXPECT_EQ(joined(graph), "join(convolution add relu)");
}

TEST(Epilogues, EndWhereOthersReadToo) {
  Operands o;
  const Var y = matmul(o.x, o.w) + o.b;
  output("y", y * sigmoid(y));
  EXPECT_EQ(joined(o.graph), "join(matmul add) sigmoid mul");
}

TEST(Epilogues, EndWhereTheShapeChanges) {
  Operands o;
  output("y", relu(matmul(o.x, o.w)) + input(o.graph, "large", DType::f32, {3, 4, 8}));
  EXPECT_EQ(joined(o.graph), "join(matmul relu) add");
}

TEST(Epilogues, OfTwoProductsThatAreAddedGoToTheFirst) {
  Operands o;
  output("y", relu(matmul(o.x, o.w) + matmul(o.r, o.w)));
  EXPECT_EQ(joined(o.graph), "matmul join(matmul add relu)");
}

TEST(Epilogues, WaitForTheirOtherOperands) {
  Operands o;
  const Var y = matmul(o.x, o.w);
  const Var late = tanh(o.r);
  output("late", late);
  output("y", y + late);
  EXPECT_EQ(joined(o.graph), "tanh join(matmul add)");
}

TEST(Epilogues, LeaveAProductThatIsAnOutput) {
  Operands o;
  const Var y = matmul(o.x, o.w);
  output("y", y);
  output("z", relu(y));
  EXPECT_EQ(joined(o.graph), "matmul relu");
}

TEST(Epilogues, MayAddAnOperandOfTheProductItself) {
  Operands o;
  output("y", matmul(o.r, o.w) + o.r);
  EXPECT_EQ(joined(o.graph), "join(matmul add)");
}

TEST(Epilogues, AreThePlainGraphOnceTakenApart) {
  Operands o;
  output("y", relu(matmul(o.x, o.w) + o.b));
  const Graph apart = decompose(join_epilogues(o.graph, all), [](const Graph&, const Node&) { return false; });
  verify(apart);
  EXPECT_EQ(ops(apart), "matmul add maximum");
}

}  // namespace
}  // namespace ml::passes
