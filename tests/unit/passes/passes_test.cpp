// Each pass, before and after, in the text form.
#include "engine/passes/passes.h"

#include <gtest/gtest.h>

#include "engine/graph/build.h"
#include "engine/graph/build_control.h"
#include "engine/graph/build_dynamic.h"
#include "engine/runtime/resources.h"
#include "ml/error.h"
#include "tests/unit/passes/rewrite.h"

namespace ml::passes {
namespace {

Evaluate evaluate() { return runtime::reference_evaluate(); }

// The ops of a graph in order.
std::vector<std::string_view> ops_of(const Graph& graph) {
  std::vector<std::string_view> names;
  for (const Node& node : graph.nodes()) names.push_back(node.op->name);
  return names;
}
using Ops = std::vector<std::string_view>;

std::string error_of(const Graph& graph, std::vector<Shape> shapes) {
  try {
    passes::bind(graph, shapes, evaluate());
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

const Rewrite kRewrites[] = {
    {"dead code goes, inputs stay",
     [](Graph& g) {
       const Var x = input(g, "x", DType::f32, {2});
       input(g, "unused", DType::f32, {2});
       exp(sin(x));
       output("y", cos(x));
     },
     eliminate_dead_code,
     [](Graph& g) {
       const Var x = input(g, "x", DType::f32, {2});
       input(g, "unused", DType::f32, {2});
       output("y", cos(x));
     }},
    {"equal nodes become one",
     [](Graph& g) {
       const Var x = input(g, "x", DType::f32, {2});
       output("y", exp(sin(x)) + exp(sin(x)));
     },
     eliminate_common_subexpressions,
     [](Graph& g) {
       const Var x = input(g, "x", DType::f32, {2});
       const Var e = exp(sin(x));
       output("y", e + e);
     }},
    {"other attributes keep nodes apart",
     [](Graph& g) {
       const Var x = input(g, "x", DType::f32, {2, 2});
       output("y", reduce_sum(x, {0}) + reduce_sum(x, {1}));
     },
     eliminate_common_subexpressions,
     [](Graph& g) {
       const Var x = input(g, "x", DType::f32, {2, 2});
       output("y", reduce_sum(x, {0}) + reduce_sum(x, {1}));
     }},
    {"constants fold",
     [](Graph& g) {
       const Var x = input(g, "x", DType::f32, {});
       output("y", x + (scalar(g, DType::f32, 3) * scalar(g, DType::f32, 2) + 1.0));
     },
     [](const Graph& g) { return fold(g, evaluate()); },
     [](Graph& g) {
       const Var x = input(g, "x", DType::f32, {});
       output("y", x + scalar(g, DType::f32, 7));
     }},
    {"what would grow isn't folded",
     [](Graph& g) {
       output("y", broadcast_to(scalar(g, DType::f32, 1), {100, 100}));
     },
     [](const Graph& g) { return fold(g, evaluate()); },
     [](Graph& g) {
       output("y", broadcast_to(scalar(g, DType::f32, 1), {100, 100}));
     }},
    {"a reshape of a constant is the constant, whatever the limit",
     [](Graph& g) {
       output("y", reshape(constant(g, make_splat(DType::f64, {6}, 3)), {2, 3}));
     },
     [](const Graph& g) { return fold(g, evaluate(), 0); },
     [](Graph& g) {
       output("y", constant(g, make_splat(DType::f64, {2, 3}, 3)));
     }},
    {"a constant index out of range isn't folded away",
     [](Graph& g) {
       const Var i = constant(g, make_splat(DType::i64, {1}, 9));
       output("y", gather(constant(g, make_splat(DType::f32, {2}, 1)), i, 0));
     },
     [](const Graph& g) { return fold(g, evaluate()); },
     [](Graph& g) {
       const Var i = constant(g, make_splat(DType::i64, {1}, 9));
       output("y", gather(constant(g, make_splat(DType::f32, {2}, 1)), i, 0));
     }},
    {"composites fall apart", [](Graph& g) { output("y", silu(input(g, "x", DType::f32, {2}))); },
     [](const Graph& g) { return decompose(g, [](const Graph&, const Node&) { return false; }); },
     [](Graph& g) {
       const Var x = input(g, "x", DType::f32, {2});
       output("y", x * sigmoid(x));
     }},
    {"composites that are wanted stay", [](Graph& g) { output("y", silu(input(g, "x", DType::f32, {2}))); },
     [](const Graph& g) { return decompose(g, [](const Graph&, const Node&) { return true; }); },
     [](Graph& g) { output("y", silu(input(g, "x", DType::f32, {2}))); }},
    {"calls are inlined, with what falls apart inside",
     [](Graph& g) {
       Graph body;
       output("y", silu(input(body, "x", DType::f32, {2})) + 1.0);
       const Var x = input(g, "x", DType::f32, {2});
       output("y", call(std::make_shared<const Graph>(body), std::vector<Var>{exp(x)})[0]);
     },
     [](const Graph& g) { return decompose(g, [](const Graph&, const Node&) { return false; }); },
     [](Graph& g) {
       const Var e = exp(input(g, "x", DType::f32, {2}));
       output("y", e * sigmoid(e) + 1.0);
     }},
};

class Rewrites : public testing::TestWithParam<Rewrite> {};
INSTANTIATE_TEST_SUITE_P(Cases, Rewrites, testing::ValuesIn(kRewrites));

TEST_P(Rewrites, GivesTheGraphThatIsExpected) { expect_rewrite(GetParam()); }

TEST(Bind, GivesEveryExtentItsValue) {
  Graph graph;
  const Var x{&graph, graph.add_input("x", {DType::f32, {kUnknown, 3}}, {"n", ""})};
  const Var y{&graph, graph.add_input("y", {DType::f32, {kUnknown, kUnknown}}, {"n", "m"})};
  output("z", matmul(x, y, true));
  const Graph bound = passes::bind(graph, std::vector<Shape>{{4, 3}, {4, 5}}, evaluate());
  verify(bound);
  EXPECT_TRUE(bound.bound());
  EXPECT_EQ(bound.type(bound.outputs()[0].value).shape, (Shape{3, 5}));
}

TEST(Bind, NamesTheInputAndTheSymbolThatContradict) {
  Graph graph;
  graph.add_input("x", {DType::f32, {kUnknown, 3}}, {"n", ""});
  graph.add_input("y", {DType::f32, {kUnknown}}, {"n"});
  const std::string symbol = error_of(graph, {{4, 3}, {5}});
  EXPECT_NE(symbol.find("'y'"), std::string::npos) << symbol;
  EXPECT_NE(symbol.find("'n' is 4 in input 'x'"), std::string::npos) << symbol;
  EXPECT_NE(error_of(graph, {{4, 2}, {4}}).find("'x'"), std::string::npos);
  EXPECT_NE(error_of(graph, {{4, 3, 1}, {4}}).find("'x'"), std::string::npos);
  EXPECT_NE(error_of(graph, {{4, 3}}).find("takes 2 inputs, not 1"), std::string::npos);
}

TEST(Bind, ComputesShapesOnTheWay) {
  Graph graph;
  const Var x{&graph, graph.add_input("x", {DType::f32, {kUnknown, kUnknown}}, {"n", "m"})};
  // reshape(x, [n * m]), as an importer writes it
  const Var shape = shape_of(x);
  const Var product = reduce_prod(shape, {0}, true);
  output("flat", reshape_to(x, product));
  const Graph bound = passes::bind(graph, std::vector<Shape>{{4, 6}}, evaluate());
  verify(bound);
  EXPECT_EQ(ops_of(bound), Ops{"reshape"});
  EXPECT_EQ(bound.type(bound.outputs()[0].value).shape, (Shape{24}));
}

TEST(Bind, AnEmptyShapeOperandSaysAllThatThereIs) {
  Graph graph;
  const Var none = input(graph, "none", DType::i64, {0}), x = input(graph, "x", DType::f32, {});
  output("expanded", expand_to(x, none));
  output("reshaped", reshape_to(reshape(x, {1}), none));
  output("sliced", slice_by(x, none, none, none, {}));
  output("transposed", transpose_by(x, none));
  const Graph bound = passes::bind(graph, std::vector<Shape>{{0}, {}}, evaluate());
  verify(bound);
  for (const Node& node : bound.nodes()) EXPECT_NE(node.op->kind, OpKind::dynamic) << node.op->name;
}

TEST(Bind, TransposesByAnOrderComputedOnTheWay) {
  const auto reversed = [](std::int64_t last) {
    Graph graph;
    const Var x{&graph, graph.add_input("x", {DType::f32, {kUnknown, 6}}, {"n", ""})};
    // The first extent says where its dimension goes.
    const Var first = slice(shape_of(x), {0}, {1});
    const Var order[] = {first - 3.0, first - static_cast<double>(last)};
    output("y", transpose_by(x, concat(order, 0)));
    return graph;
  };
  const Graph bound = passes::bind(reversed(4), std::vector<Shape>{{4, 6}}, evaluate());
  verify(bound);
  EXPECT_EQ(ops_of(bound), Ops{"transpose"});
  EXPECT_EQ(bound.type(bound.outputs()[0].value).shape, (Shape{6, 4}));
  EXPECT_NE(error_of(reversed(3), {{4, 6}}).find("order names dimension 1 twice"), std::string::npos);
  EXPECT_NE(error_of(reversed(2), {{4, 6}}).find("transpose_by: axis"), std::string::npos);
}

TEST(Lower, KeepsDonations) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2});
  output("y", silu(x));
  graph.donate(0, 0);
  const Target target{[](const Graph&, const Node&) { return false; }, true};
  const Graph lowered = lower(graph, target, evaluate());
  verify(lowered);
  ASSERT_EQ(lowered.donations().size(), 1u);
}

}  // namespace
}  // namespace ml::passes
