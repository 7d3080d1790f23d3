// What gradients() does to a graph. Whether the derivatives are right is tested in tests/matrix.
#include "engine/graph/autodiff.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/graph/build_control.h"
#include "engine/graph/build_nn.h"
#include "ml/error.h"
#include "tests/unit/graph/bodies.h"
#include "tests/unit/graph/shape_cases.h"

namespace ml::test {
namespace {

std::size_t count(const Graph& graph, std::string_view op) {
  return static_cast<std::size_t>(
      std::ranges::count_if(graph.nodes(), [&](const Node& node) { return node.op->name == op; }));
}

std::string refusal(auto differentiate) {
  try {
    differentiate();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing";
}

// The value is a constant of one number, repeated or not.
bool is_all(Var x, double wanted) {
  const Node* node = x.graph->producer(x.id);
  if (node != nullptr && node->op->name == "broadcast_to") return is_all({x.graph, node->inputs[0]}, wanted);
  const ConstantData* constant = x.graph->constant(x.id);
  double value = 0;
  return constant != nullptr && splat_value(*constant, value) && value == wanted;
}

TEST(Autodiff, AnswersOneGradientOfTheRightTypeForEach) {
  Graph g;
  const Var x = in(g, "f32[2, 3]"), w = in(g, "f32[3]"), b = in(g, "f32[]");
  const Var wrt[] = {x, w, b};
  const std::vector<Var> answer = gradients(reduce_sum(x * w + b), wrt);
  ASSERT_EQ(answer.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(answer[i].type(), wrt[i].type()) << i;
  EXPECT_NO_THROW(verify(g));
}

TEST(Autodiff, AnswersZerosForWhatDoesNotMatter) {
  Graph g;
  const Var x = in(g, "f32[2]"), unused = in(g, "f64[2, 0]");
  const Var wrt[] = {unused, x};
  const std::vector<Var> answer = gradients(reduce_sum(x), wrt);
  EXPECT_EQ(answer[0].type(), unused.type());
  EXPECT_TRUE(is_all(answer[0], 0));
}

TEST(Autodiff, AnswersTheSeedForTheOutputItself) {
  Graph g;
  const Var x = in(g, "f32[]");
  EXPECT_TRUE(is_all(gradients(x, std::span(&x, 1))[0], 1));
}

TEST(Autodiff, AddsUpTheSeedsOfOneOutputGivenTwice) {
  Graph g;
  const Var x = in(g, "f32[2]"), seed = in(g, "f32[2]");
  const Var outputs[] = {x, x}, seeds[] = {seed, seed};
  const Var dx = gradients(outputs, seeds, std::span(&x, 1))[0];
  EXPECT_EQ(g.producer(dx.id)->op->name, "add");
}

TEST(Autodiff, DifferentiatesByIntermediateValuesThatDependOnEachOther) {
  Graph g;
  const Var x = in(g, "f32[]");
  const Var y = exp(x);
  const Var wrt[] = {x, y};
  const std::vector<Var> answer = gradients(y * y, wrt);
  // dx goes through dy: it is dy * exp(x).
  const Node* last = g.producer(answer[0].id);
  EXPECT_EQ(last->op->name, "mul");
  EXPECT_EQ(last->inputs[0], answer[1].id);
}

TEST(Autodiff, AsksNoRuleBesideThePath) {
  Graph g;
  const Var x = in(g, "f32[2]"), other = in(g, "f32[2]");
  const Var beside = exp(other);
  const std::size_t before = count(g, "exp");
  const Var y = x * beside;
  const std::size_t muls = count(g, "mul");
  gradients(reduce_sum(y), std::span(&x, 1));
  EXPECT_EQ(count(g, "exp"), before);
  EXPECT_EQ(count(g, "mul"), muls + 2);  // the rule of mul answers both sides, that of exp is not asked
}

GraphPtr keep_going() {
  return body("f32[2]", [](std::span<const Var> x) -> std::vector<Var> { return {lt(reduce_sum(x[0]), 100.0)}; });
}
GraphPtr twice() {
  return body("f32[2]", [](std::span<const Var> x) -> std::vector<Var> { return {x[0] * 2.0}; });
}

TEST(Autodiff, NamesTheOpThatHasNoGradientAndWhy) {
  Graph g;
  const Var x = in(g, "f32[2]");
  const Var y = while_loop(keep_going(), twice(), std::span(&x, 1))[0];
  EXPECT_EQ(refusal([&] { gradients(reduce_sum(y), std::span(&x, 1)); }),
            "gradients: while has no gradient: the number of its turns is not known beforehand; use scan");
}

TEST(Autodiff, DoesNotMindAnOpWithoutGradientBesideThePath) {
  Graph g;
  const Var x = in(g, "f32[2]"), other = in(g, "f32[2]");
  const Var y = while_loop(keep_going(), twice(), std::span(&other, 1))[0];
  EXPECT_NO_THROW(gradients(reduce_sum(x * y), std::span(&x, 1)));
}

TEST(Autodiff, DoesNotMindAnOpWithoutGradientThatNothingReads) {
  Graph g;
  const Var x = in(g, "f32[2]");
  while_loop(keep_going(), twice(), std::span(&x, 1));
  EXPECT_NO_THROW(gradients(reduce_sum(x), std::span(&x, 1)));
}

TEST(Autodiff, TakesIntegersAndBooleansForConstants) {
  Graph g;
  const Var x = in(g, "f32[4]");
  const Var index = argmax(x, 0), mask = gt(x, 0.0), rounded = cast(cast(x, DType::i32), DType::f32);
  const Var y = select(mask, x, rounded) * gather(x, index, 0);
  const Var dx = gradients(reduce_sum(y), std::span(&x, 1))[0];
  EXPECT_EQ(dx.type(), x.type());
  EXPECT_NO_THROW(verify(g));
}

TEST(Autodiff, TakesResidualOutputsForOrdinaryOnes) {
  Graph g;
  const Var logits = in(g, "f32[3, 4]"), labels = in(g, "i64[3]");
  const CrossEntropy both = cross_entropy(logits, labels);
  for (const Var& y : {both.loss, both.log_sum_exp}) {
    const Var dx = gradients(reduce_sum(y), std::span(&logits, 1))[0];
    EXPECT_EQ(dx.type(), logits.type());
    EXPECT_FALSE(is_all(dx, 0));
  }
}

TEST(Autodiff, CanBeRepeated) {
  Graph g;
  const Var x = in(g, "f64[]");
  Var y = sin(x) * exp(x);
  for (int order = 1; order <= 4; ++order) {
    y = gradients(y, std::span(&x, 1))[0];
    EXPECT_EQ(y.type(), x.type()) << order;
  }
  EXPECT_NO_THROW(verify(g));
}

TEST(Autodiff, SaysWhatDoesNotFit) {
  Graph g;
  const Var x = in(g, "f32[2]"), n = in(g, "i32[2]"), batch = in(g, "f32[?]"), seed = in(g, "f64[2]");
  const auto of = [&](Var y, Var s, Var by) {
    return refusal([&] { gradients(std::span(&y, 1), std::span(&s, 1), std::span(&by, 1)); });
  };
  EXPECT_EQ(of(x, x, n), "gradients: cannot differentiate with respect to i32[2] (cast it to a float first)");
  EXPECT_EQ(of(n, n, x), "gradients: output 0 is i32[2], no float");
  EXPECT_EQ(of(x, seed, x), "gradients: seed 0 is f64[2] for an output f32[2]");
  EXPECT_EQ(refusal([&] { gradients(std::span(&x, 1), {}, std::span(&x, 1)); }), "gradients: 0 seeds for 1 outputs");
  EXPECT_EQ(refusal([&] { gradients(x, std::span(&x, 1)); }),
            "gradients: the loss must be a scalar, not f32[2] (sum or average it)");
  EXPECT_EQ(refusal([&] { gradients(reduce_sum(batch), std::span(&batch, 1)); }),
            "gradients: reduce_sum has an operand of unknown extent: f32[?] (bind the graph first)");
}

// Every node of the tables of shapes whose row has a gradient, in every floating dtype that its rule takes: the rules
// append what verifies and answer the types of the inputs, for their own gradients too.
TEST(Autodiff, FitsEveryFloatingDType) {
  for (const ShapeCase& c : all_shape_cases()) {
    if (c.expects[0] == '!') continue;
    Graph built;
    c.build(built);
    for (const Node& node : built.nodes()) {
      if (node.op->gradient.rule == nullptr) continue;
      for (const DType dtype : {DType::f64, DType::f32, DType::f16, DType::bf16}) {
        Graph g;
        std::vector<Var> inputs, wrt, outputs;
        bool known = true;
        for (TensorType type : types_of(built, node.inputs)) {
          known = known && type.shape.known();
          if (is_floating(type.dtype)) type.dtype = dtype;
          inputs.push_back(input(g, "x" + std::to_string(inputs.size()), type.dtype, type.shape));
          if (is_floating(type.dtype)) wrt.push_back(inputs.back());
        }
        if (!known || wrt.empty()) continue;
        try {
          outputs = emit_all(node.op->name, inputs, node.attributes);
        } catch (const Error&) {
          continue;  // bodies of control flow have types of their own
        }
        const std::string where = std::string(c.name) + ": " + std::string(node.op->name) + " in " +
                                  std::string(dtype_name(dtype)) + ", order ";
        for (int order = 1; order <= 2; ++order) {
          std::erase_if(outputs, [](Var x) { return !is_floating(x.dtype()); });
          std::vector<Var> seeds;
          for (const Var& y : outputs) {
            seeds.push_back(input(g, "d" + std::to_string(g.inputs().size()), y.dtype(), y.shape()));
          }
          try {
            outputs = gradients(outputs, seeds, wrt);
            verify(g);
          } catch (const Error& error) {
            ADD_FAILURE() << where << order << ": " << error.what();
            break;
          }
          for (std::size_t i = 0; i < wrt.size(); ++i) EXPECT_EQ(outputs[i].type(), wrt[i].type()) << where << order;
        }
      }
    }
  }
}

}  // namespace
}  // namespace ml::test
