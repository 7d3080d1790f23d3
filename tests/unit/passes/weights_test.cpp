#include <cmath>
#include <limits>

#include "engine/graph/build_nn.h"
#include "tests/unit/passes/rewrite.h"

namespace ml::passes {
namespace {

Var x_of(Graph& g) { return {&g, g.add_input("x", {DType::f32, {kUnknown, 2, 5, 5}}, {"n", "", "", ""})}; }
Var numbers(Graph& g, const Shape& shape, std::vector<float> values, DType dtype = DType::f32) {
  if (dtype == DType::f32) return constant(g, make_constant(dtype, shape, std::as_bytes(std::span(values))));
  std::vector<double> wide(values.begin(), values.end());
  return constant(g, make_constant(dtype, shape, std::as_bytes(std::span(wide))));
}
// [2, 2, 1, 1]
Var weights(Graph& g, std::vector<float> values) { return numbers(g, {2, 2, 1, 1}, std::move(values)); }
Var convolved(Graph& g, std::vector<float> w, std::vector<float> bias = {}) {
  const Var x = x_of(g), weight = weights(g, std::move(w));
  return convolution(x, weight, bias.empty() ? Var{} : numbers(g, {2}, std::move(bias)), Windows::unit(2));
}
Var row_of(Graph& g) { return input(g, "x", DType::f32, {3, 2}); }

const Case kCases[] = {
    {"a batch norm",
     [](Graph& g) {
       const Var y = convolved(g, {1, 2, 3, 4}, {5, 6});
       output("y", batch_norm_inference(y, numbers(g, {2}, {1, 2}), numbers(g, {2}, {4, 0.25}), numbers(g, {2}, {2, 3}),
                                        numbers(g, {2}, {7, 8}), 0));
     },
     // factors 2 / 2 and 3 / 0.5, biases (5 - 1) * 1 + 7 and (6 - 2) * 6 + 8
     [](Graph& g) {
       output("y", convolved(g, {1, 2, 18, 24}, {11, 32}));
     }},
    {"a batch norm without parameters, of a convolution without a bias",
     [](Graph& g) {
       const Var y = convolved(g, {1, 2, 3, 4});
       output("y", batch_norm_inference(y, numbers(g, {2}, {1, 2}), numbers(g, {2}, {4, 0.25}), Var{}, Var{}, 0));
     },
     [](Graph& g) {
       output("y", convolved(g, {0.5, 1, 6, 8}, {-0.5, -4}));
     }},
    {"a factor for each channel",
     [](Graph& g) {
       output("y", convolved(g, {1, 2, 3, 4}, {5, 6}) * numbers(g, {1, 2, 1, 1}, {2, 3}));
     },
     [](Graph& g) {
       output("y", convolved(g, {2, 4, 9, 12}, {10, 18}));
     }},
    {"a factor for all",
     [](Graph& g) {
       output("y", convolved(g, {1, 2, 3, 4}) * 2.0);
     },
     [](Graph& g) {
       output("y", convolved(g, {2, 4, 6, 8}));
     }},
    {"a divisor",
     [](Graph& g) {
       output("y", convolved(g, {1, 2, 3, 4}) / numbers(g, {2, 1, 1}, {2, 4}));
     },
     [](Graph& g) {
       output("y", convolved(g, {0.5, 1, 0.75, 1}));
     }},
    {"a term",
     [](Graph& g) {
       output("y", convolved(g, {1, 2, 3, 4}) + numbers(g, {1, 2, 1, 1}, {5, 6}));
     },
     [](Graph& g) {
       output("y", convolved(g, {1, 2, 3, 4}, {5, 6}));
     }},
    {"several of them",
     [](Graph& g) {
       output("y", (convolved(g, {1, 2, 3, 4}) * 2.0 - numbers(g, {2, 1, 1}, {1, 2})) * 3.0);
     },
     [](Graph& g) {
       output("y", convolved(g, {6, 12, 18, 24}, {-3, -6}));
     }},
    {"a factor for each column is none for each channel",
     [](Graph& g) {
       output("y", convolved(g, {1, 2, 3, 4}) * numbers(g, {5}, {1, 2, 3, 4, 5}));
     },
     nullptr},
    {"a factor that makes the result larger",
     [](Graph& g) {
       const Var x = input(g, "x", DType::f32, {1, 2, 5, 5});
       const Var y = convolution(x, weights(g, {1, 2, 3, 4}), Var{}, Windows::unit(2));
       output("y", y * constant(g, make_splat(DType::f32, {3, 1, 1, 1}, 2)));
     },
     nullptr},
    {"a result that others read too",
     [](Graph& g) {
       const Var y = convolved(g, {1, 2, 3, 4});
       output("y", y * 2.0);
       output("z", y);
     },
     nullptr},
    {"weights that are no constants",
     [](Graph& g) {
       const Var x = x_of(g);
       const Var y = convolution(x, input(g, "w", DType::f32, {2, 2, 1, 1}), Var{}, Windows::unit(2));
       output("y", y * 2.0);
     },
     nullptr},
    {"a variance of zero without an epsilon",
     [](Graph& g) {
       const Var y = convolved(g, {1, 2, 3, 4});
       output("y", batch_norm_inference(y, numbers(g, {2}, {1, 2}), numbers(g, {2}, {1, 0}), Var{}, Var{}, 0));
     },
     nullptr},
    {"16-bit weights",
     [](Graph& g) {
       const Var x = input(g, "x", DType::f16, {1, 2, 5, 5});
       const Var y = convolution(x, constant(g, make_splat(DType::f16, {2, 2, 1, 1}, 1)), Var{}, Windows::unit(2));
       output("y", y * 3.0);
     },
     nullptr},
    {"a factor for each column of a product",
     [](Graph& g) {
       const Var x = row_of(g);
       output("y", matmul(x, numbers(g, {2, 3}, {1, 2, 3, 4, 5, 6})) * numbers(g, {3}, {2, 3, 4}));
     },
     [](Graph& g) {
       const Var x = row_of(g);
       output("y", matmul(x, numbers(g, {2, 3}, {2, 6, 12, 8, 15, 24})));
     }},
    {"a factor for each column of a product with transposed weights",
     [](Graph& g) {
       const Var x = row_of(g);
       output("y", matmul(x, numbers(g, {3, 2}, {1, 2, 3, 4, 5, 6}), false, true) * numbers(g, {3}, {2, 3, 4}));
     },
     [](Graph& g) {
       const Var x = row_of(g);
       output("y", matmul(x, numbers(g, {3, 2}, {2, 4, 9, 12, 20, 24}), false, true));
     }},
    {"a batch norm behind a product and its bias",
     [](Graph& g) {
       const Var x = row_of(g);
       const Var y = matmul(x, numbers(g, {2, 2}, {1, 2, 3, 4})) + numbers(g, {2}, {5, 6});
       output("y", batch_norm_inference(y, numbers(g, {2}, {1, 2}), numbers(g, {2}, {4, 0.25}), numbers(g, {2}, {2, 3}),
                                        numbers(g, {2}, {7, 8}), 0));
     },
     [](Graph& g) {
       const Var x = row_of(g);
       const Var y = matmul(x, numbers(g, {2, 2}, {1, 12, 3, 24}));
       output("y", y + numbers(g, {2}, {11, 32}));
     }},
    {"a term stays behind a product",
     [](Graph& g) {
       const Var x = row_of(g);
       output("y", matmul(x, numbers(g, {2, 2}, {1, 2, 3, 4})) + numbers(g, {2}, {5, 6}));
     },
     nullptr},
    {"a factor for each row of a product",
     [](Graph& g) {
       const Var x = row_of(g);
       output("y", matmul(x, numbers(g, {2, 2}, {1, 2, 3, 4})) * numbers(g, {3, 1}, {1, 2, 3}));
     },
     nullptr},
};

class Weights : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Cases, Weights, testing::ValuesIn(kCases));
TEST_P(Weights, TakeWhatFollows) { expect_case(GetParam(), fold_into_weights); }

// One blob behind many weights is no reason to make a copy for each.
TEST(Weights, BecomeNotMuchMoreThanTheyWere) {
  Graph g;
  const Var x = input(g, "x", DType::f32, {1, 2, 5, 5});
  const ConstantPtr shared = make_splat(DType::f32, {64, 2, 1, 1}, 1);
  for (int i = 0; i < 40; ++i) {
    const Var y = convolution(x, constant(g, shared), Var{}, Windows::unit(2));
    output("y" + std::to_string(i), y * (2.0 + i));
  }
  const Graph folded = fold_into_weights(g);
  verify(folded);
  std::size_t products = 0;
  for (const Node& node : folded.nodes()) products += node.op->name == "mul" ? 1 : 0;
  EXPECT_GE(products, 38u);
}

}  // namespace
}  // namespace ml::passes
