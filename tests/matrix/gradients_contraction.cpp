// Gradients of matrix products, convolution and pooling.
#include "engine/graph/build_nn.h"
#include "tests/matrix/gradients.h"

namespace ml::test {
namespace {

using Parameters = std::span<const Var>;

template <bool transpose_a, bool transpose_b>
Vars product(Graph&, Parameters x) {
  return {matmul(x[0], x[1], transpose_a, transpose_b)};
}

Windows windows(Ints strides, Ints low, Ints high, Ints dilations) {
  return {std::move(strides), std::move(low), std::move(high), std::move(dilations)};
}
// Strides, uneven padding and dilation at once.
Windows uneven() { return windows({2, 1}, {1, 0}, {0, 2}, {1, 2}); }
Windows line() { return windows({2}, {1}, {1}, {1}); }

const GradientCase kCases[] = {
    {"matmul", {{{2, 3}}, {{3, 4}}}, product<false, false>},
    {"matmul transposed left", {{{3, 2}}, {{3, 4}}}, product<true, false>},
    {"matmul transposed right", {{{2, 3}}, {{4, 3}}}, product<false, true>},
    {"matmul transposed both", {{{3, 2}}, {{4, 3}}}, product<true, true>},
    {"matmul in batches", {{{2, 1, 2, 3}}, {{2, 3, 2}}}, product<false, false>},
    {"matmul by one weight", {{{2, 2, 3}}, {{3, 2}}}, product<false, false>},
    {"matmul by one transposed weight", {{{2, 2, 3}}, {{2, 3}}}, product<false, true>},
    {"matmul of transposed batches by one weight", {{{2, 3, 2}}, {{2, 3}}}, product<true, true>},
    {"matmul of a weight by batches", {{{2, 3}}, {{2, 3, 2}}}, product<false, false>},
    {"matmul of vectors", {{{3}}, {{3}}}, product<false, false>},
    {"matmul of a vector by a matrix", {{{3}}, {{3, 2}}}, product<false, false>},
    {"matmul over nothing", {{{2, 0}}, {{0, 3}}}, product<false, false>},
    {"matmul of no batches by one weight", {{{0, 2, 3}}, {{3, 2}}}, product<false, false>},

    {"convolution of a line",
     {{{2, 2, 5}}, {{3, 2, 3}}, {{3}}},
     [](Graph&, Parameters x) -> Vars { return {convolution(x[0], x[1], x[2], line())}; }},
    {"convolution in groups",
     {{{1, 4, 4}}, {{2, 2, 2}}},
     [](Graph&, Parameters x) -> Vars { return {convolution(x[0], x[1], {}, Windows::unit(1), 2)}; }},
    {"convolution of images",
     {{{1, 2, 4, 5}}, {{2, 2, 2, 3}}},
     [](Graph&, Parameters x) -> Vars { return {convolution(x[0], x[1], {}, uneven())}; }},
    {"convolution of volumes",
     {{{1, 1, 3, 3, 2}}, {{1, 1, 2, 2, 2}}},
     [](Graph&, Parameters x) -> Vars { return {convolution(x[0], x[1], {}, Windows::unit(3))}; }},
    {"convolution's input gradient",
     {{{1, 2, 3}}, {{2, 2, 3}}},
     [](Graph&, Parameters x) -> Vars { return {convolution_input_gradient(x[0], x[1], line(), 1, {5})}; }},
    {"convolution's input gradient in groups",
     {{{1, 2, 3}}, {{2, 1, 2}}},
     [](Graph&, Parameters x) -> Vars { return {convolution_input_gradient(x[0], x[1], Windows::unit(1), 2, {4})}; }},
    {"convolution's weight gradient",
     {{{2, 2, 5}}, {{2, 3, 3}}},
     [](Graph&, Parameters x) -> Vars { return {convolution_weight_gradient(x[0], x[1], line(), 1, {3})}; }},
    {"convolution's weight gradient of images",
     {{{1, 2, 4, 5}}, {{1, 2, 2, 3}}},
     [](Graph&, Parameters x) -> Vars {
       return {convolution_weight_gradient(x[0], x[1], uneven(), 2, {2, 3})};
     }},

    {"max_pool",
     {{{1, 2, 5, 4}, kApart}},
     [](Graph&, Parameters x) -> Vars {
       const Var y = max_pool(x[0], {2, 2}, uneven());
       return {y * y};
     }},
    {"max_pool of overlapping windows",
     {{{2, 1, 5}, kApart}},
     [](Graph&, Parameters x) -> Vars {
       const Var y = max_pool(x[0], {3}, line());
       return {y * y};
     }},
    {"max_pool's gradient",
     {{{1, 2, 5}, kApart}, {{1, 2, 3}}},
     [](Graph&, Parameters x) -> Vars {
       const Var dx = max_pool_gradient(x[0], x[1], {3}, line());
       return {dx * dx};
     }},
    {"max_pool's selection",
     {{{1, 2, 5}, kApart}, {{1, 2, 5}}},
     [](Graph&, Parameters x) -> Vars {
       const Var y = max_pool_select(x[0], x[1], {3}, line());
       return {y * y};
     }},
    {"average_pool",
     {{{1, 2, 5, 4}}},
     [](Graph&, Parameters x) -> Vars {
       const Var y = average_pool(x[0], {2, 2}, uneven());
       return {y * y};
     }},
    {"average_pool that counts padding",
     {{{2, 1, 5}}},
     [](Graph&, Parameters x) -> Vars {
       const Var y = average_pool(x[0], {3}, line(), true);
       return {y * y};
     }},
    {"average_pool's gradient",
     {{{1, 2, 3}}},
     [](Graph&, Parameters x) -> Vars {
       const Var dx = average_pool_gradient(x[0], {3}, line(), false, {5});
       return {dx * dx};
     }},
    {"convolution of no images",
     {{{0, 2, 4}}, {{3, 2, 2}}, {{3}}},
     [](Graph&, Parameters x) -> Vars { return {convolution(x[0], x[1], x[2], Windows::unit(1))}; }},
    {"convolution of no channels",
     {{{2, 0, 4}}, {{3, 0, 2}}, {{3}}},
     [](Graph&, Parameters x) -> Vars { return {convolution(x[0], x[1], x[2], Windows::unit(1))}; }},
    {"max_pool of no images",
     {{{0, 2, 4}}},
     [](Graph&, Parameters x) -> Vars { return {max_pool(x[0], {2}, Windows::unit(1))}; }},
    {"average_pool of no images",
     {{{0, 2, 4}}},
     [](Graph&, Parameters x) -> Vars { return {average_pool(x[0], {2}, Windows::unit(1))}; }},
};

}  // namespace

std::span<const GradientCase> contraction_gradients() { return kCases; }

}  // namespace ml::test
