#include "engine/graph/ops/movement.h"
#include "engine/graph/build_nn.h"
#include "tests/unit/passes/rewrite.h"

namespace ml::passes {
namespace {

Var x_of(Graph& g, const Shape& shape) { return input(g, "x", DType::f32, shape); }
// [n, 3, m] of unknown n and m.
Var unknown(Graph& g) { return {&g, g.add_input("x", {DType::f32, {kUnknown, 3, kUnknown}}, {"n", "", "m"})}; }

const Case kCases[] = {
    {"reshape of reshape",
     [](Graph& g) {
       output("y", reshape(reshape(x_of(g, {2, 6}), {12}), {3, 4}));
     },
     [](Graph& g) {
       output("y", reshape(x_of(g, {2, 6}), {3, 4}));
     }},
    {"reshape and back",
     [](Graph& g) {
       output("y", reshape(reshape(x_of(g, {2, 6}), {12}), {2, 6}));
     },
     [](Graph& g) {
       output("y", x_of(g, {2, 6}));
     }},
    {"unsqueeze and squeeze of unknown extents",
     [](Graph& g) { output("y", squeeze(unsqueeze(unknown(g), {0}), {0})); },
     [](Graph& g) { output("y", unknown(g)); }},
    {"transpose of transpose",
     [](Graph& g) {
       output("y", transpose(transpose(x_of(g, {2, 3, 4}), {2, 0, 1}), {2, 0, 1}));
     },
     [](Graph& g) {
       output("y", transpose(x_of(g, {2, 3, 4}), {1, 2, 0}));
     }},
    {"transpose and back",
     [](Graph& g) {
       output("y", transpose(transpose(unknown(g), {2, 0, 1}), {1, 2, 0}));
     },
     [](Graph& g) { output("y", unknown(g)); }},
    {"transpose of a dimension of one",
     [](Graph& g) {
       output("y", transpose(x_of(g, {2, 1, 4}), {1, 0, 2}));
     },
     [](Graph& g) {
       output("y", reshape(x_of(g, {2, 1, 4}), {1, 2, 4}));
     }},
    {"broadcast of broadcast",
     [](Graph& g) {
       output("y", broadcast_to(broadcast_to(x_of(g, {3}), {2, 3}), {4, 2, 3}));
     },
     [](Graph& g) {
       output("y", broadcast_to(x_of(g, {3}), {4, 2, 3}));
     }},
    {"broadcast to what it is",
     [](Graph& g) {
       output("y", broadcast_to(unknown(g), {kUnknown, 3, kUnknown}));
     },
     [](Graph& g) { output("y", unknown(g)); }},
    {"broadcast to what another operand has",
     [](Graph& g) {
       const Var x = x_of(g, {2, 3});
       output("z", x + broadcast_to(input(g, "y", DType::f32, {3}), {2, 3}));
     },
     [](Graph& g) {
       const Var x = x_of(g, {2, 3});
       output("z", x + input(g, "y", DType::f32, {3}));
     }},
    {"broadcast that makes the result larger",
     [](Graph& g) {
       const Var x = x_of(g, {3});
       output("z", x + broadcast_to(input(g, "y", DType::f32, {3}), {2, 3}));
     },
     nullptr},
    {"slice of slice",
     [](Graph& g) {
       output("y", slice(slice(x_of(g, {4, 20}), {0, 2}, {4, 18}, {1, 3}), {1, 1}, {3, 5}, {1, 2}));
     },
     [](Graph& g) {
       output("y", slice(x_of(g, {4, 20}), {1, 5}, {3, 12}, {1, 6}));
     }},
    {"slice of slice of unknown extents, in different dimensions",
     [](Graph& g) {
       const Var half = slice(unknown(g), {1, 0, 0}, {-1, kSliceToEnd, kSliceToEnd});
       output("y", slice(half, {0, 0, 0}, {kSliceToEnd, 2, kSliceToEnd}));
     },
     [](Graph& g) {
       output("y", slice(unknown(g), {1, 0, 0}, {-1, 2, kSliceToEnd}));
     }},
    {"slice of everything",
     [](Graph& g) {
       output("y", slice(x_of(g, {4, 5}), {0, 0}, {9, 5}));
     },
     [](Graph& g) {
       output("y", x_of(g, {4, 5}));
     }},
    {"slice of a part",
     [](Graph& g) {
       const Var parts[] = {x_of(g, {2, 3}), input(g, "y", DType::f32, {2, 4})};
       output("z", slice(concat(parts, 1), {0, 4}, {1, 6}));
     },
     [](Graph& g) {
       x_of(g, {2, 3});
       output("z", slice(input(g, "y", DType::f32, {2, 4}), {0, 1}, {1, 3}));
     }},
    {"slice across parts",
     [](Graph& g) {
       const Var parts[] = {x_of(g, {2, 3}), input(g, "y", DType::f32, {2, 4})};
       output("z", slice(concat(parts, 1), {0, 2}, {2, 6}));
     },
     nullptr},
    {"concat of one", [](Graph& g) { output("y", concat(std::vector<Var>{unknown(g)}, 0)); },
     [](Graph& g) { output("y", unknown(g)); }},
    {"concat with nothing",
     [](Graph& g) {
       const Var x = x_of(g, {2, 3});
       output("z", concat(std::vector<Var>{input(g, "y", DType::f32, {2, 0}), x}, 1));
     },
     [](Graph& g) {
       const Var x = x_of(g, {2, 3});
       input(g, "y", DType::f32, {2, 0});
       output("z", x);
     }},
    {"concat of concat",
     [](Graph& g) {
       const Var x = x_of(g, {2, 3}), y = input(g, "y", DType::f32, {2, 3});
       output("z", concat(std::vector<Var>{concat(std::vector<Var>{x, y}, 1), x}, 1));
     },
     [](Graph& g) {
       const Var x = x_of(g, {2, 3}), y = input(g, "y", DType::f32, {2, 3});
       output("z", concat(std::vector<Var>{x, y, x}, 1));
     }},
    {"concat of a concat that is read elsewhere",
     [](Graph& g) {
       const Var x = x_of(g, {2, 3});
       const Var inner = concat(std::vector<Var>{x, input(g, "y", DType::f32, {2, 3})}, 1);
       output("inner", inner);
       output("z", concat(std::vector<Var>{inner, x}, 1));
     },
     nullptr},
    {"concat of slices that follow each other",
     [](Graph& g) {
       const Var x = x_of(g, {2, 6});
       output("y", concat(std::vector<Var>{slice(x, {0, 0}, {2, 2}), slice(x, {0, 2}, {2, 6})}, 1));
     },
     [](Graph& g) {
       output("y", x_of(g, {2, 6}));
     }},
    {"concat of slices with a gap",
     [](Graph& g) {
       const Var x = x_of(g, {2, 6});
       output("y", concat(std::vector<Var>{slice(x, {0, 0}, {2, 2}), slice(x, {0, 3}, {2, 6})}, 1));
     },
     nullptr},
    {"pad by nothing",
     [](Graph& g) {
       output("y", pad(unknown(g), {0, 0, 0}, {0, 0, 0}, 3));
     },
     [](Graph& g) { output("y", unknown(g)); }},
    {"pad of pad",
     [](Graph& g) {
       output("y", pad(pad(x_of(g, {2, 3}), {1, 0}, {0, 2}, 3), {0, 1}, {1, 1}, 3));
     },
     [](Graph& g) {
       output("y", pad(x_of(g, {2, 3}), {1, 1}, {1, 3}, 3));
     }},
    {"pad of pad with other values",
     [](Graph& g) {
       output("y", pad(pad(x_of(g, {2, 3}), {1, 0}, {0, 2}, 3), {0, 1}, {1, 1}, 4));
     },
     nullptr},
    {"zeros around an image belong to the convolution",
     [](Graph& g) {
       const Var x = pad(x_of(g, {1, 2, 8, 8}), {0, 0, 1, 0}, {0, 0, 2, 1});
       output("y", convolution(x, input(g, "w", DType::f32, {4, 2, 3, 3}), Var{}, {{2, 2}, {0, 1}, {0, 0}, {1, 1}}));
     },
     [](Graph& g) {
       const Var x = x_of(g, {1, 2, 8, 8});
       output("y", convolution(x, input(g, "w", DType::f32, {4, 2, 3, 3}), Var{}, {{2, 2}, {1, 1}, {2, 1}, {1, 1}}));
     }},
    {"other values around it do not",
     [](Graph& g) {
       const Var x = pad(x_of(g, {1, 2, 8, 8}), {0, 0, 1, 0}, {0, 0, 2, 1}, 1);
       output("y", convolution(x, input(g, "w", DType::f32, {4, 2, 3, 3}), Var{}, Windows::unit(2)));
     },
     nullptr},
    {"reverse of reverse",
     [](Graph& g) {
       output("y", reverse(reverse(unknown(g), {0, 1}), {1, 2}));
     },
     [](Graph& g) {
       output("y", reverse(unknown(g), {0, 2}));
     }},
    {"reverse of one",
     [](Graph& g) {
       output("y", reverse(x_of(g, {1, 4}), {0}));
     },
     [](Graph& g) {
       output("y", x_of(g, {1, 4}));
     }},
    {"a sum of one",
     [](Graph& g) {
       output("y", reduce_sum(x_of(g, {1, 4}), {0}));
     },
     [](Graph& g) {
       output("y", squeeze(x_of(g, {1, 4}), {0}));
     }},
    {"a mean of one that keeps its rank",
     [](Graph& g) {
       output("y", reduce_mean(x_of(g, {1, 4}), {0}, true));
     },
     [](Graph& g) {
       output("y", x_of(g, {1, 4}));
     }},
    {"a transposed operand",
     [](Graph& g) {
       const Var x = x_of(g, {5, 2, 3});
       output("z", matmul(x, transpose(input(g, "y", DType::f32, {5, 4, 3}), {0, 2, 1})));
     },
     [](Graph& g) {
       const Var x = x_of(g, {5, 2, 3});
       output("z", matmul(x, input(g, "y", DType::f32, {5, 4, 3}), false, true));
     }},
    {"an operand whose last dimension was another",
     [](Graph& g) {
       const Var x = x_of(g, {5, 7, 2, 3});
       output("z", matmul(x, transpose(input(g, "y", DType::f32, {5, 4, 7, 3}), {0, 2, 3, 1})));
     },
     [](Graph& g) {
       const Var x = x_of(g, {5, 7, 2, 3});
       output("z", matmul(x, transpose(input(g, "y", DType::f32, {5, 4, 7, 3}), {0, 2, 1, 3}), false, true));
     }},
    {"heads that stay last",
     [](Graph& g) {
       const Var x = x_of(g, {5, 7, 2, 3});
       output("z", matmul(x, transpose(input(g, "y", DType::f32, {5, 3, 7, 4}), {0, 2, 1, 3})));
     },
     nullptr},
    {"a product that is transposed",
     [](Graph& g) {
       const Var x = x_of(g, {2, 3});
       output("z", transpose(matmul(x, input(g, "y", DType::f32, {4, 3}), false, true), {1, 0}));
     },
     [](Graph& g) {
       const Var x = x_of(g, {2, 3});
       output("z", matmul(input(g, "y", DType::f32, {4, 3}), x, false, true));
     }},
    {"a product that others read as it is",
     [](Graph& g) {
       const Var x = x_of(g, {2, 3});
       const Var product = matmul(x, input(g, "y", DType::f32, {4, 3}), false, true);
       output("z", transpose(product, {1, 0}));
       output("product", product);
     },
     nullptr},
};

class Movement : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Cases, Movement, testing::ValuesIn(kCases));
TEST_P(Movement, IsDoneOnce) { expect_case(GetParam(), clean_movement); }

// A file of some hundred bytes asked for 2^24 operands: each concat has the last one twice, where it is or reshaped.
TEST(ConcatOfConcats, DoesNotDouble) {
  for (const bool reshapes : {false, true}) {
    Graph graph;
    Var x = x_of(graph, {1, 1});
    for (std::int64_t extent = 1; extent < 1 << 24; extent *= 2) {
      const Shape shape{extent, 1};
      x = reshapes ? concat(std::vector<Var>{reshape(x, shape), reshape(x, shape)}, 0)
                   : concat(std::vector<Var>{x, x}, 0);
    }
    output("y", x);
    const Graph cleaned = clean_movement(graph);
    std::size_t operands = 0;
    for (const Node& node : cleaned.nodes()) operands += node.inputs.size();
    EXPECT_LT(operands, 24U * 256) << reshapes;
  }
}

}  // namespace
}  // namespace ml::passes
