#include <gtest/gtest.h>

#include <string>

#include "engine/graph/build_nn.h"
#include "engine/passes/passes.h"

namespace ml::passes {
namespace {

// The ops in order; of a joined node "name(those of its body)".
std::string ops(const Graph& graph) {
  std::string text;
  for (const Node& node : graph.nodes()) {
    text += (text.empty() ? "" : " ") + std::string(node.op->name);
    if (node.op->name.starts_with("fused_")) text += "(" + ops(*node.as<BodyAttributes>().body) + ")";
  }
  return text;
}

bool all(const Graph&, const Node&) { return true; }
bool none(const Graph&, const Node&) { return false; }

std::string joined(const Graph& graph, const KeepRule& keep = all) {
  const Graph result = join_convolutions(graph, keep);
  verify(result);
  EXPECT_EQ(result.outputs().size(), graph.outputs().size());
  return ops(result);
}

struct Operands {
  Graph graph;
  Var x = input(graph, "x", DType::f32, {1, 4, 5, 5}), w = input(graph, "w", DType::f32, {4, 4, 1, 1});
  Var v = input(graph, "v", DType::f32, {4, 1, 3, 3}), b = input(graph, "b", DType::f32, {4, 1, 1});
  Var expand(Var image) const { return convolution(image, w, Var{}, Windows::unit(2)); }
  Var windows(Var image) const { return convolution(image, v, Var{}, {{1, 1}, {1, 1}, {1, 1}, {1, 1}}, 4); }
};

TEST(Convolutions, BehindEachOtherBecomeOne) {
  Operands o;
  output("y", o.windows(o.expand(o.x)));
  EXPECT_EQ(joined(o.graph), "fused_convolutions(convolution convolution)");
  EXPECT_EQ(joined(o.graph, none), "convolution convolution");
}

TEST(Convolutions, TakeTheirEpiloguesAlong) {
  Operands o;
  output("y", relu(o.windows(relu(o.expand(o.x) + o.b)) + o.b));
  EXPECT_EQ(joined(join_epilogues(o.graph, all)),
            "fused_convolutions(fused_contraction(convolution add relu) fused_contraction(convolution add relu))");
}

TEST(Convolutions, StayApartWhereOthersReadBetween) {
  Operands o;
  const Var between = o.expand(o.x);
  output("y", o.windows(between) + between);
  EXPECT_EQ(joined(o.graph), "convolution convolution add");
  Operands read;
  const Var shown = read.expand(read.x);
  output("between", shown);
  output("y", read.windows(shown));
  EXPECT_EQ(joined(read.graph), "convolution convolution");
}

TEST(Convolutions, StayApartWhereTheFirstMakesWeights) {
  Operands o;
  output("y", convolution(o.x, o.expand(input(o.graph, "z", DType::f32, {4, 4, 1, 1})), Var{}, Windows::unit(2)));
  EXPECT_EQ(joined(o.graph), "convolution convolution");
}

// One that isn't joined with the one before it may be with the one behind it.
TEST(Convolutions, AreJoinedWhereTheDeviceTakesThem) {
  Operands o;
  output("y", o.expand(o.windows(o.expand(o.x))));
  EXPECT_EQ(joined(o.graph), "fused_convolutions(convolution convolution) convolution");
  const auto windows_first = [](const Graph&, const Node& node) {
    return node.as<BodyAttributes>().body->type(node.as<BodyAttributes>().body->nodes()[0].inputs[1]).shape[1] == 1;
  };
  EXPECT_EQ(joined(o.graph, windows_first), "convolution fused_convolutions(convolution convolution)");
}

TEST(Convolutions, AreThePlainGraphOnceTakenApart) {
  Operands o;
  output("y", o.windows(relu(o.expand(o.x) + o.b)));
  const Graph apart = decompose(join_convolutions(join_epilogues(o.graph, all), all), none);
  verify(apart);
  EXPECT_EQ(ops(apart).substr(0, 15), "convolution add") << ops(apart);
  EXPECT_TRUE(ops(apart).ends_with(" convolution")) << ops(apart);
}

}  // namespace
}  // namespace ml::passes
