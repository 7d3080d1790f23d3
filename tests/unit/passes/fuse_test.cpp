#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/graph/build_nn.h"
#include "engine/passes/passes.h"

namespace ml {
namespace {

// The names of a graph's ops in order; a fused node as "fused(its body's ops)".
std::string ops(const Graph& graph) {
  std::string text;
  for (const Node& node : graph.nodes()) {
    text += text.empty() ? "" : " ";
    text += node.op->name;
    if (node.op->name == "fused") text += "(" + ops(*node.as<BodyAttributes>().body) + ")";
  }
  return text;
}

// Fuses, checks that the result is a graph, and lists its ops.
std::string fused_ops(const Graph& graph) {
  const Graph result = passes::fuse(graph);
  verify(result);
  return ops(result);
}

TEST(Fuse, MakesOneNodeOfAChain) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4, 5}), y = input(graph, "y", DType::f32, {5});
  output("z", tanh(x * y) + x);
  EXPECT_EQ(fused_ops(graph), "fused(mul tanh add)");
}

TEST(Fuse, LeavesASingleNodeAlone) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4});
  output("z", exp(x));
  EXPECT_EQ(fused_ops(graph), "exp");
}

TEST(Fuse, TakesScalarConstantsAndBroadcastsInside) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4, 5}), y = input(graph, "y", DType::f32, {5});
  output("z", exp(x * 2.0) + broadcast_to(y, {4, 5}));
  EXPECT_EQ(fused_ops(graph), "fused(constant mul exp broadcast_to add)");
}

TEST(Fuse, EndsInAReduction) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4, 5});
  output("z", reduce_sum(x * x, {1}));
  EXPECT_EQ(fused_ops(graph), "fused(mul reduce_sum)");
}

TEST(Fuse, KeepsWhatReadsAReductionApart) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4, 5});
  const Var e = exp(x - reduce_max(x, {1}, true));
  output("softmax", e / reduce_sum(e, {1}, true));
  EXPECT_EQ(fused_ops(graph), "reduce_max fused(sub exp reduce_sum) div");
}

TEST(Fuse, JoinsReductionsOverTheSameAxesOnly) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4, 5});
  const Var y = x * x;
  output("a", reduce_sum(y, {1}));
  output("b", reduce_max(y, {1}));
  output("c", reduce_sum(y, {0}));
  EXPECT_EQ(fused_ops(graph), "fused(mul reduce_sum reduce_max) reduce_sum");
}

TEST(Fuse, AnswersValuesThatOthersReadAsFurtherOutputs) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4, 4});
  const Var y = exp(x);
  output("y", y);
  output("z", y * x);
  output("product", matmul(y, x));
  const Graph result = passes::fuse(graph);
  EXPECT_EQ(ops(result), "fused(exp mul) matmul");
  EXPECT_EQ(result.nodes()[0].output_count, 2u);
}

// exp and add would be one group, but the matmul between them needs the first and makes what the second reads.
TEST(Fuse, NeverMakesACycle) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4, 4});
  const Var y = exp(x);
  output("z", y + matmul(y, y));
  EXPECT_EQ(fused_ops(graph), "exp matmul add");
}

// a and d share an operand with b and c, which lead from one to the other through a product.
TEST(Fuse, NeverMakesACycleThroughAnotherGroup) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4, 4});
  const Var a = exp(x);
  const Var b = neg(matmul(a, x));
  const Var c = sin(b) * x;
  output("z", matmul(c, c) + a);
  EXPECT_EQ(fused_ops(graph), "exp matmul fused(neg sin mul) matmul add");
}

TEST(Fuse, KeepsShapesApart) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4, 5}), y = input(graph, "y", DType::f32, {5});
  output("z", x * exp(neg(y)));
  EXPECT_EQ(fused_ops(graph), "fused(neg exp) mul");
}

TEST(Fuse, StopsAtTheSizeThatAProgramMayHave) {
  Graph graph;
  Var x = input(graph, "x", DType::f32, {4});
  for (int i = 0; i < 200; ++i) x = sin(x);
  output("z", x);
  const Graph result = passes::fuse(graph);
  verify(result);
  for (const Node& node : result.nodes()) {
    if (node.op->name != "fused") continue;
    EXPECT_LE(node.as<BodyAttributes>().body->nodes().size(), 48u);
  }
  EXPECT_LE(result.nodes().size(), 6u);
}

TEST(Fuse, KeepsDonations) {
  Graph graph;
  const Var p = input(graph, "p", DType::f32, {8}), g = input(graph, "g", DType::f32, {8});
  output("p", p - g * 0.5);
  graph.donate(0, 0);
  const Graph result = passes::fuse(graph);
  verify(result);
  EXPECT_EQ(ops(result), "fused(constant mul sub)");
  ASSERT_EQ(result.donations().size(), 1u);
}

}  // namespace
}  // namespace ml
