// Rows found in what exporters write for them.
#include <cmath>
#include <numbers>

#include "engine/graph/build_nn.h"
#include "engine/graph/text.h"
#include "tests/unit/passes/rewrite.h"

namespace ml::passes {
namespace {

// [n, 4] of unknown n.
Var x_of(Graph& g) { return {&g, g.add_input("x", {DType::f32, {kUnknown, 4}}, {"n", ""})}; }

// What the loading of a program does up to here.
Graph found(const Graph& graph) {
  return eliminate_common_subexpressions(find_norms(find_softmax(find_activations(clean_algebra(graph)))));
}

const double kRootOfTwo = std::numbers::sqrt2, kTanhFactor = std::sqrt(2 * std::numbers::inv_pi);

void expect_gelu(Graph& g) { output("y", gelu(x_of(g))); }
void expect_gelu_by_tanh(Graph& g) { output("y", gelu(x_of(g), true)); }
void expect_silu(Graph& g) { output("y", silu(x_of(g))); }
void expect_hard_swish(Graph& g) { output("y", hard_swish(x_of(g))); }
void expect_sigmoid(Graph& g) { output("y", sigmoid(x_of(g))); }

const Case kActivations[] = {
    {"relu as a maximum", [](Graph& g) { output("y", maximum(x_of(g), 0.0)); },
     [](Graph& g) { output("y", relu(x_of(g))); }},
    {"relu as a maximum, the other way round", [](Graph& g) { output("y", maximum(0.0, x_of(g))); },
     [](Graph& g) { output("y", relu(x_of(g))); }},
    {"gelu as PyTorch writes it",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * (erf(x / kRootOfTwo) + 1.0) * 0.5);
     },
     expect_gelu},
    {"gelu with the half in front",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * 0.5 * (erf(x / kRootOfTwo) + 1.0));
     },
     expect_gelu},
    {"gelu with the half inside",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", (1.0 + erf(x * (1 / kRootOfTwo))) * 0.5 * x);
     },
     expect_gelu},
    {"gelu over two",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * (erf(x / kRootOfTwo) + 1.0) / 2.0);
     },
     expect_gelu},
    {"gelu with constants that are tensors",
     [](Graph& g) {
       const Var x = x_of(g);
       const auto number = [&](double value) { return constant(g, make_splat(DType::f32, {1}, value)); };
       output("y", x * number(0.5) * (erf(x / number(kRootOfTwo)) + number(1)));
     },
     expect_gelu},
    {"gelu of a product, which is not taken apart",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var z = x * x;
       output("y", z * (erf(z / kRootOfTwo) + 1.0) * 0.5);
     },
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", gelu(x * x));
     }},
    {"gelu with another number",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * (erf(x / 1.5) + 1.0) * 0.5);
     },
     nullptr},
    {"gelu by half",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * (erf(x / kRootOfTwo) + 1.0));
     },
     nullptr},
    {"gelu by tanh as GPT-2 writes it",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * 0.5 * (tanh((x + pow(x, 3.0) * 0.044715) * kTanhFactor) + 1.0));
     },
     expect_gelu_by_tanh},
    {"gelu by tanh as a fast one is written",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", 0.5 * x * (1.0 + tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x))));
     },
     expect_gelu_by_tanh},
    {"gelu by tanh with the factor distributed",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", 0.5 * (x * (1.0 + tanh(x * kTanhFactor + x * x * x * (kTanhFactor * 0.044715)))));
     },
     expect_gelu_by_tanh},
    {"silu as a product",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * sigmoid(x));
     },
     expect_silu},
    {"silu as a quotient",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x / (1.0 + exp(-x)));
     },
     expect_silu},
    {"silu of another value",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * sigmoid(x * 1.702));
     },
     nullptr},
    {"sigmoid", [](Graph& g) { output("y", 1.0 / (exp(-x_of(g)) + 1.0)); }, expect_sigmoid},
    {"sigmoid by minus one", [](Graph& g) { output("y", 1.0 / (1.0 + exp(x_of(g) * -1.0))); }, expect_sigmoid},
    {"hard swish",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * clamp(x / 6.0 + 0.5, 0, 1));
     },
     expect_hard_swish},
    {"hard swish by relu6",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * clamp(x + 3.0, 0, 6) / 6.0);
     },
     expect_hard_swish},
    {"hard swish with the division in the middle",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * (clamp(3.0 + x, 0, 6) / 6.0));
     },
     expect_hard_swish},
    {"hard swish with another limit",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * clamp(x + 3.0, -1, 6) / 6.0);
     },
     nullptr},
};

void expect_softmax(Graph& g) { output("y", softmax(x_of(g))); }

const Case kSoftmaxes[] = {
    {"softmax",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var e = exp(x - reduce_max(x, {1}, true));
       output("y", e / reduce_sum(e, {1}, true));
     },
     expect_softmax},
    {"softmax by a reciprocal",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var e = exp(x - reduce_max(x, {1}, true));
       output("y", e * (1.0 / reduce_sum(e, {1}, true)));
     },
     expect_softmax},
    {"softmax of the first axis",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var e = exp(x - reduce_max(x, {0}, true));
       output("y", e / reduce_sum(e, {0}, true));
     },
     [](Graph& g) { output("y", softmax(x_of(g), 0)); }},
    {"softmax that overflows",
     [](Graph& g) {
       const Var e = exp(x_of(g));
       output("y", e / reduce_sum(e, {1}, true));
     },
     nullptr},
    {"a sum along another axis",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var e = exp(x - reduce_max(x, {1}, true));
       output("y", e / reduce_sum(e, {0}, true));
     },
     nullptr},
    {"exponentials that are wanted too",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var e = exp(x - reduce_max(x, {1}, true));
       output("y", e / reduce_sum(e, {1}, true));
       output("e", e);
     },
     nullptr},
    {"its logarithm",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var c = x - reduce_max(x, {1}, true);
       output("y", c - log(reduce_sum(exp(c), {1}, true)));
     },
     [](Graph& g) { output("y", log_softmax(x_of(g))); }},
};

Var vector(Graph& g, const char* name) { return input(g, name, DType::f32, {4}); }
constexpr double kEpsilon = 0x1p-20;
void expect_norm(Graph& g) {
  const Var x = x_of(g), scale = vector(g, "scale"), bias = vector(g, "bias");
  output("y", layer_norm(x, scale, bias, 1, kEpsilon).y);
}

const Case kNorms[] = {
    {"layer norm as PyTorch writes it",
     [](Graph& g) {
       const Var x = x_of(g), scale = vector(g, "scale"), bias = vector(g, "bias");
       const Var d = x - reduce_mean(x, {-1}, true);
       output("y", d / sqrt(reduce_mean(pow(d, 2.0), {-1}, true) + kEpsilon) * scale + bias);
     },
     expect_norm},
    {"layer norm with the difference twice",
     [](Graph& g) {
       const Var x = x_of(g), scale = vector(g, "scale"), bias = vector(g, "bias");
       const Var d = x - reduce_mean(x, {-1}, true);
       output("y", bias + scale * (d * (1.0 / sqrt(kEpsilon + reduce_mean(d * d, {-1}, true)))));
     },
     expect_norm},
    {"layer norm with parameters that have dimensions of one",
     [](Graph& g) {
       const Var x = x_of(g), scale = input(g, "scale", DType::f32, {1, 4}),
                 bias = input(g, "bias", DType::f32, {1, 4});
       const Var d = x - reduce_mean(x, {-1}, true);
       output("y", d * rsqrt(reduce_mean(d * d, {-1}, true) + kEpsilon) * scale + bias);
     },
     [](Graph& g) {
       const Var x = x_of(g), scale = input(g, "scale", DType::f32, {1, 4}),
                 bias = input(g, "bias", DType::f32, {1, 4});
       const Var s = reshape(scale, {4}), b = reshape(bias, {4});
       output("y", layer_norm(x, s, b, 1, kEpsilon).y);
     }},
    {"layer norm as TensorFlow writes it",
     [](Graph& g) {
       const Var x = x_of(g), scale = vector(g, "scale"), bias = vector(g, "bias");
       const Var mean = reduce_mean(x, {-1}, true);
       const Var d = x - mean;
       const Var m = rsqrt(reduce_mean(d * d, {-1}, true) + kEpsilon) * scale;
       output("y", x * m + (bias - mean * m));
     },
     expect_norm},
    {"layer norm without parameters",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var d = x - reduce_mean(x, {-1}, true);
       output("y", d / sqrt(reduce_mean(d * d, {-1}, true) + kEpsilon));
     },
     [](Graph& g) { output("y", layer_norm(x_of(g), Var{}, Var{}, 1, kEpsilon).y); }},
    {"a layer norm's own parameters",
     [](Graph& g) {
       const Var x = x_of(g), scale = vector(g, "scale"), bias = vector(g, "bias");
       output("y", layer_norm(x, Var{}, Var{}, 1, kEpsilon).y * scale + bias);
     },
     expect_norm},
    {"a scale for each row is no parameter",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", layer_norm(x, Var{}, Var{}, 1).y * reduce_max(x, {1}, true));
     },
     nullptr},
    {"a mean along another axis",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var d = x - reduce_mean(x, {0}, true);
       output("y", d / sqrt(reduce_mean(d * d, {0}, true) + kEpsilon));
     },
     nullptr},
    {"a difference that is wanted too",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var d = x - reduce_mean(x, {1}, true);
       output("y", d / sqrt(reduce_mean(d * d, {1}, true) + kEpsilon));
       output("d", d);
     },
     nullptr},
    {"a root without an epsilon",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var d = x - reduce_mean(x, {1}, true);
       output("y", d / sqrt(reduce_mean(d * d, {1}, true)));
     },
     nullptr},
};

class Find : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Activations, Find, testing::ValuesIn(kActivations));
INSTANTIATE_TEST_SUITE_P(Softmax, Find, testing::ValuesIn(kSoftmaxes));
INSTANTIATE_TEST_SUITE_P(Norms, Find, testing::ValuesIn(kNorms));
TEST_P(Find, RowsInArithmetic) {
  // What no row is found in may still be cleaned up.
  Graph before, after;
  GetParam().before(before);
  (GetParam().after != nullptr ? GetParam().after : GetParam().before)(after);
  const Graph expected = GetParam().after != nullptr ? after : eliminate_common_subexpressions(clean_algebra(after));
  verify(found(before));
  EXPECT_EQ(print(eliminate_dead_code(found(before))), print(eliminate_dead_code(expected)));
}

}  // namespace
}  // namespace ml::passes
