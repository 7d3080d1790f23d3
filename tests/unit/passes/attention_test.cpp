#include <cmath>
#include <limits>

#include "engine/graph/build_nn.h"
#include "engine/graph/ops/attention.h"
#include "tests/unit/passes/rewrite.h"

namespace ml::passes {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Operands {
  Var q, k, v;
};
Operands operands(Graph& g) {
  return {input(g, "q", DType::f32, {2, 3, 5, 4}), input(g, "k", DType::f32, {2, 3, 7, 4}),
          input(g, "v", DType::f32, {2, 3, 7, 6})};
}
Var mask(Graph& g) { return input(g, "mask", DType::f32, {2, 1, 1, 7}); }
Var seen(Graph& g) { return input(g, "seen", DType::boolean, {5, 7}); }
Var attend(const Operands& o, Var bias, double scale) {
  AttentionAttributes attributes;
  attributes.scale = scale;
  return attention(o.q, o.k, o.v, bias, Var{}, attributes).y;
}

const Case kCases[] = {
    {"scores over a number",
     [](Graph& g) {
       const Operands o = operands(g);
       output("y", matmul(softmax(matmul(o.q, o.k, false, true) * 0.5), o.v));
     },
     [](Graph& g) { output("y", attend(operands(g), Var{}, 0.5)); }},
    {"nothing but products",
     [](Graph& g) {
       const Operands o = operands(g);
       output("y", matmul(softmax(matmul(o.q, o.k, false, true)), o.v));
     },
     [](Graph& g) { output("y", attend(operands(g), Var{}, 1)); }},
    {"a mask that is added",
     [](Graph& g) {
       const Operands o = operands(g);
       output("y", matmul(softmax(matmul(o.q, o.k, false, true) / 2.0 + mask(g)), o.v));
     },
     [](Graph& g) {
       const Operands o = operands(g);
       output("y", attend(o, mask(g), 0.5));
     }},
    {"a mask that is added to",
     [](Graph& g) {
       const Operands o = operands(g);
       output("y", matmul(softmax(mask(g) + matmul(o.q, o.k, false, true)), o.v));
     },
     [](Graph& g) {
       const Operands o = operands(g);
       output("y", attend(o, mask(g), 1));
     }},
    {"queries and keys with half of the factor each",
     [](Graph& g) {
       const Operands o = operands(g);
       output("y", matmul(softmax(matmul(o.q * 0.5, o.k * 0.25, false, true)), o.v));
     },
     [](Graph& g) { output("y", attend(operands(g), Var{}, 0.125)); }},
    {"a condition that hides by infinity",
     [](Graph& g) {
       const Operands o = operands(g);
       const Var scores = matmul(o.q, o.k, false, true);
       output("y", matmul(softmax(select(seen(g), scores, scalar(g, DType::f32, -kInfinity))), o.v));
     },
     [](Graph& g) {
       const Operands o = operands(g);
       output("y", attend(o, seen(g), 1));
     }},
    {"a condition that hides by a number",
     [](Graph& g) {
       const Operands o = operands(g);
       const Var scores = matmul(o.q, o.k, false, true);
       output("y", matmul(softmax(select(seen(g), scores, scalar(g, DType::f32, -0x1p120))), o.v));
     },
     [](Graph& g) {
       const Operands o = operands(g);
       const Var bias = select(seen(g), scalar(g, DType::f32, 0), scalar(g, DType::f32, -0x1p120));
       output("y", attend(o, bias, 1));
     }},
    {"a number that leaves something of the scores",
     [](Graph& g) {
       const Operands o = operands(g);
       const Var scores = matmul(o.q, o.k, false, true);
       output("y", matmul(softmax(select(seen(g), scores, scalar(g, DType::f32, -10000))), o.v));
     },
     nullptr},
    {"a mask that is scaled too",
     [](Graph& g) {
       const Operands o = operands(g);
       output("y", matmul(softmax((matmul(o.q, o.k, false, true) + mask(g)) * 0.5), o.v));
     },
     nullptr},
    {"a softmax over queries",
     [](Graph& g) {
       const Operands o = operands(g);
       output("y", matmul(softmax(matmul(o.q, o.k, false, true), 2), o.v));
     },
     nullptr},
    {"probabilities that are wanted too",
     [](Graph& g) {
       const Operands o = operands(g);
       const Var p = softmax(matmul(o.q, o.k, false, true));
       output("p", p);
       output("y", matmul(p, o.v));
     },
     nullptr},
    {"keys that all batches share",
     [](Graph& g) {
       const Var q = input(g, "q", DType::f32, {2, 3, 5, 4}), k = input(g, "k", DType::f32, {1, 3, 7, 4});
       output("y", matmul(softmax(matmul(q, k, false, true)), input(g, "v", DType::f32, {2, 3, 7, 6})));
     },
     nullptr},
    {"batches that are not known yet",
     [](Graph& g) {
       const auto open = [&g](const char* name, std::int64_t tokens) {
         return Var{&g, g.add_input(name, {DType::f32, {kUnknown, 3, tokens, 4}}, {name, "", "", ""})};
       };
       const Var q = open("q", 5), k = open("k", 7);
       output("y", matmul(softmax(matmul(q, k, false, true)), open("v", 7)));
     },
     nullptr},
};

class Attentions : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Cases, Attentions, testing::ValuesIn(kCases));
TEST_P(Attentions, AreFound) {
  expect_case(GetParam(),
              [](const Graph& g) { return find_attention(g, [](const Graph&, const Node&) { return true; }); });
}

TEST(Attentions, StayProductsWhereThereIsNoKernel) {
  expect_rewrite({"no kernel", kCases[0].before,
                  [](const Graph& g) { return find_attention(g, [](const Graph&, const Node&) { return false; }); },
                  kCases[0].before});
}

}  // namespace
}  // namespace ml::passes
