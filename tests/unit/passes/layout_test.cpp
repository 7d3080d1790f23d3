#include <gtest/gtest.h>

#include <string>

#include "engine/graph/build_nn.h"
#include "engine/passes/passes.h"

namespace ml {
namespace {

const passes::DimOrder kLast{0, 2, 3, 1};

// Convolution and pooling would like channels last.
std::optional<passes::PreferredOrders> prefer(const Graph&, const Node& node) {
  if (node.op->name == "convolution") return passes::PreferredOrders{{kLast, {}, {}}, {kLast}};
  if (node.op->name == "max_pool") return passes::PreferredOrders{{kLast}, {kLast}};
  return std::nullopt;
}

// The ops in order, with "!" behind those whose first output is channels-last.
std::string laid_out(const Graph& graph) {
  const passes::LaidOut result = passes::assign_layouts(graph, prefer);
  verify(result.graph);
  std::string text;
  for (const Node& node : result.graph.nodes()) {
    text += text.empty() ? "" : " ";
    text += node.op->name;
    if (result.orders[node.first_output] == kLast) text += "!";
  }
  for (const GraphOutput& value : result.graph.outputs()) EXPECT_TRUE(result.orders[value.value].empty());
  return text;
}

Var convolve(Var x, Var w) { return convolution(x, w, Var{}, Windows::unit(2)); }

TEST(Layout, CopiesOnceIntoAChainAndOnceOutOfIt) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 8, 9, 9}), w = input(graph, "w", DType::f32, {8, 8, 3, 3});
  const Var first = tanh(convolve(x, w));
  const Var pooled = max_pool(first, {2, 2}, Windows::unit(2));
  output("y", convolve(pooled, w));
  EXPECT_EQ(laid_out(graph), "broadcast_to! convolution! tanh! max_pool! convolution! broadcast_to");
}

TEST(Layout, CopiesNothingThatHasOneChannel) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 1, 9, 9}), w = input(graph, "w", DType::f32, {1, 1, 3, 3});
  output("y", convolve(x, w));
  EXPECT_EQ(laid_out(graph), "convolution");
}

TEST(Layout, MovesElementsAsTheyLie) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 8, 9, 9}), w = input(graph, "w", DType::f32, {8, 8, 3, 3});
  const Var first = convolve(x, w), places = input(graph, "places", DType::i64, {9});
  const Var wide = gather(first, places, 3),
            all = concat(std::vector<Var>{slice(wide, {0, 0, 0, 0}, {2, 8, 7, 7}), first}, 1);
  output("y", convolve(pad(all, {0, 0, 0, 1}, {0, 0, 0, 1}), input(graph, "v", DType::f32, {8, 16, 3, 3})));
  EXPECT_EQ(laid_out(graph), "broadcast_to! convolution! gather! slice! concat! pad! convolution! broadcast_to");
}

TEST(Layout, GivesRowMajorToWhatAsksForNothing) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 8, 9, 9}), w = input(graph, "w", DType::f32, {8, 8, 3, 3});
  output("y", matmul(reshape(convolve(x, w), {2, 392}), input(graph, "m", DType::f32, {392, 10})));
  EXPECT_EQ(laid_out(graph), "broadcast_to! convolution! broadcast_to reshape matmul");
}

// Nearest neighbours by broadcasting, and channels that are split, as detectors do.
TEST(Layout, SeesTheSameMemoryInAnotherShape) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 8, 9, 9}), w = input(graph, "w", DType::f32, {8, 8, 3, 3});
  const Var wide = broadcast_to(reshape(convolve(x, w), {2, 8, 7, 1, 7, 1}), {2, 8, 7, 2, 7, 2});
  const Var next = convolve(reshape(wide, {2, 8, 14, 14}), w);
  output("y", transpose(reshape(next, {2, 2, 4, 12, 12}), {0, 1, 3, 4, 2}));
  EXPECT_EQ(laid_out(graph), "broadcast_to! convolution! reshape broadcast_to reshape! convolution! reshape transpose");
}

TEST(Layout, CopiesBeforeDimensionsAreJoinedThatLieApart) {
  const auto after = [](const Shape& shape) {
    Graph graph;
    const Var x = input(graph, "x", DType::f32, {2, 8, 9, 9}), w = input(graph, "w", DType::f32, {6, 8, 3, 3});
    output("y", tanh(reshape(convolve(x, w), shape)));
    return laid_out(graph);
  };
  const std::string before = "broadcast_to! convolution! broadcast_to ";
  EXPECT_EQ(after({2, 42, 7}), before + "reshape tanh");
  EXPECT_EQ(after({12, 7, 7}), before + "reshape tanh");
  EXPECT_EQ(after({2, 3, 14, 7}), before + "reshape tanh");
  EXPECT_EQ(after({2, 6, 49}), "broadcast_to! convolution! reshape tanh broadcast_to");
  EXPECT_EQ(after({2, 1, 3, 2, 1, 7, 7, 1}), "broadcast_to! convolution! reshape tanh broadcast_to");
}

TEST(Layout, LeavesAGraphWithoutWishesAsItIs) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4, 4});
  output("y", exp(matmul(x, x)));
  EXPECT_EQ(laid_out(graph), "matmul exp");
}

}  // namespace
}  // namespace ml
