// Shape rules of convolution and pooling, and of shapes that tensors tell.
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"
#include "tests/unit/graph/shape_cases.h"

namespace ml::test {
namespace {

Windows strided(Ints strides, Ints pad) {
  Windows windows = Windows::unit(static_cast<int>(strides.size()));
  windows.strides = std::move(strides);
  windows.pad_low = windows.pad_high = std::move(pad);
  return windows;
}

const ShapeCase kNetwork[] = {
    {"convolution",
     [](Graph& g) {
       return convolution(in(g, "f32[2, 3, 8, 9]"), in(g, "f32[5, 3, 3, 2]"), in(g, "f32[5]"), strided({2, 1}, {1, 0}));
     },
     "f32[2, 5, 4, 8]"},
    {"convolution in groups",
     [](Graph& g) { return convolution(in(g, "f64[?, 4, 8]"), in(g, "f64[6, 2, 3]"), {}, Windows::unit(1), 2); },
     "f64[?, 6, 6]"},
    {"convolution of no images",
     [](Graph& g) {
       return convolution(in(g, "f32[0, 1, 3, 3, 3]"), in(g, "f32[2, 1, 3, 3, 3]"), {}, Windows::unit(3));
     },
     "f32[0, 2, 1, 1, 1]"},
    {"convolution of other channels",
     [](Graph& g) { return convolution(in(g, "f32[2, 3, 8]"), in(g, "f32[5, 4, 3]"), {}, Windows::unit(1)); },
     "! convolution: input [2, 3, 8] has 3 channels, weights [5, 4, 3] want 4 in each of 1 groups"},
    {"convolution with a window too large",
     [](Graph& g) { return convolution(in(g, "f32[2, 3, 2]"), in(g, "f32[5, 3, 3]"), {}, Windows::unit(1)); },
     "! convolution: the window covers 3 positions of spatial dimension 0, which has 2 and 0 of padding"},
    {"convolution with another bias",
     [](Graph& g) {
       return convolution(in(g, "f32[2, 3, 8]"), in(g, "f32[5, 3, 3]"), in(g, "f32[4]"), Windows::unit(1));
     },
     "! convolution: bias [4] does not have one element for each of 5 output channels"},
    {"convolution of too few windows",
     [](Graph& g) { return convolution(in(g, "f32[2, 3, 8, 8]"), in(g, "f32[5, 3, 3, 3]"), {}, Windows::unit(1)); },
     "! convolution: strides has 1 entries for 2 spatial dimensions"},
    {"convolution with a stride of nothing",
     [](Graph& g) { return convolution(in(g, "f32[2, 3, 8]"), in(g, "f32[5, 3, 3]"), {}, strided({0}, {0})); },
     "! convolution: strides cannot be 0"},
    {"convolution of groups that do not divide",
     [](Graph& g) { return convolution(in(g, "f32[2, 3, 8]"), in(g, "f32[5, 1, 3]"), {}, Windows::unit(1), 3); },
     "! convolution: 5 output channels do not divide into 3 groups"},
    {"convolution's input gradient",
     [](Graph& g) {
       return convolution_input_gradient(in(g, "f32[2, 5, 4]"), in(g, "f32[5, 3, 3]"), strided({2}, {1}), 1, {8});
     },
     "f32[2, 3, 8]"},
    {"convolution's input gradient of another shape",
     [](Graph& g) {
       return convolution_input_gradient(in(g, "f32[2, 5, 4]"), in(g, "f32[5, 3, 3]"), strided({2}, {1}), 1, {9});
     },
     "! convolution_input_gradient: the gradient [2, 5, 4] does not have the shape of the result [2, 5, 5]"},
    {"convolution's weight gradient",
     [](Graph& g) {
       return convolution_weight_gradient(in(g, "f32[2, 3, 8]"), in(g, "f32[2, 5, 4]"), strided({2}, {1}), 1, {3});
     },
     "f32[5, 3, 3]"},
    {"convolution's weight gradient of extents",
     [](Graph& g) {
       return convolution_weight_gradient(in(g, "f32[2, 3, 8]"), in(g, "f32[2, 5, 4]"), strided({2}, {1}), 1, {3, 3});
     },
     "! convolution_weight_gradient: extents has 2 entries for 1 spatial dimensions"},

    {"max_pool",
     [](Graph& g) {
       return max_pool(in(g, "u8[2, 3, 8, ?]"), {2, 2}, strided({2, 2}, {0, 0}));
     },
     "u8[2, 3, 4, ?]"},
    {"max_pool of booleans", [](Graph& g) { return max_pool(in(g, "bool[2, 3, 8]"), {2}, Windows::unit(1)); },
     "! max_pool: wants a numeric dtype, got bool[2, 3, 8]"},
    {"max_pool of padding", [](Graph& g) { return max_pool(in(g, "f32[2, 3, 8]"), {2}, strided({1}, {2})); },
     "! max_pool: padding of 2 holds a whole window of 2 in spatial dimension 0"},
    {"max_pool's gradient",
     [](Graph& g) { return max_pool_gradient(in(g, "f32[2, 3, 8]"), in(g, "f32[2, 3, 4]"), {2}, strided({2}, {0})); },
     "f32[2, 3, 8]"},
    {"max_pool's gradient of another shape",
     [](Graph& g) { return max_pool_gradient(in(g, "f32[2, 3, 8]"), in(g, "f32[2, 3, 5]"), {2}, strided({2}, {0})); },
     "! max_pool_gradient: the gradient [2, 3, 5] does not have the shape of the result [2, 3, 4]"},
    {"max_pool's selection",
     [](Graph& g) { return max_pool_select(in(g, "f32[2, 3, 8]"), in(g, "f32[2, 3, 8]"), {2}, strided({2}, {0})); },
     "f32[2, 3, 4]"},
    {"max_pool's selection of another shape",
     [](Graph& g) { return max_pool_select(in(g, "f32[2, 3, 8]"), in(g, "f32[2, 3, 9]"), {2}, strided({2}, {0})); },
     "! max_pool_select: shapes differ: [2, 3, 8] and [2, 3, 9]"},
    {"average_pool", [](Graph& g) { return average_pool(in(g, "f32[2, 3, 8]"), {3}, strided({2}, {1}), true); },
     "f32[2, 3, 4]"},
    {"average_pool of a matrix", [](Graph& g) { return average_pool(in(g, "f32[3, 8]"), {}, Windows::unit(0)); },
     "! average_pool: wants 1 to 3 spatial dimensions after the first two, got shape [3, 8]"},
    {"average_pool's gradient",
     [](Graph& g) { return average_pool_gradient(in(g, "f32[2, 3, 4]"), {3}, strided({2}, {1}), false, {8}); },
     "f32[2, 3, 8]"},
    {"average_pool's gradient of extents",
     [](Graph& g) {
       return average_pool_gradient(in(g, "f32[2, 3, 4]"), {3}, strided({2}, {1}), false, {8, 8});
     },
     "! average_pool_gradient: extents has 2 entries for a gradient [2, 3, 4]"},

    {"shape_of", [](Graph& g) { return shape_of(in(g, "bool[?, 3]")); }, "i64[2]"},
    {"reshape_to", [](Graph& g) { return reshape_to(in(g, "bool[?, 3]"), in(g, "i64[3]")); }, "bool[?, ?, ?]"},
    {"reshape_to any rank", [](Graph& g) { return reshape_to(in(g, "f32[2]"), in(g, "i64[?]")); },
     "! reshape_to: the rank of its result depends on data"},
    {"expand_to", [](Graph& g) { return expand_to(in(g, "f32[2, 3]"), in(g, "i64[1]")); }, "f32[?, ?]"},
    {"expand_to floats", [](Graph& g) { return expand_to(in(g, "f32[2, 3]"), in(g, "f32[1]")); },
     "! expand_to: input 1 wants an i64 vector, got f32[1]"},
    {"slice_by",
     [](Graph& g) {
       const Var one = in(g, "i64[1]");
       return slice_by(in(g, "f32[2, 3]"), one, one, one, {1});
     },
     "f32[2, ?]"},
    {"slice_by another count",
     [](Graph& g) {
       const Var one = in(g, "i64[1]");
       return slice_by(in(g, "f32[2, 3]"), one, in(g, "i64[2]"), one, {1});
     },
     "! slice_by: input 2 wants one value per axis, 1, got i64[2]"},
    {"transpose_by", [](Graph& g) { return transpose_by(in(g, "f32[2, ?, 2]"), in(g, "i64[3]")); }, "f32[?, ?, ?]"},
    {"transpose_by of a scalar", [](Graph& g) { return transpose_by(in(g, "f32[]"), in(g, "i64[0]")); }, "f32[]"},
    {"transpose_by another count", [](Graph& g) { return transpose_by(in(g, "f32[2, 2]"), in(g, "i64[3]")); },
     "! transpose_by: input 1 wants one value per dimension of f32[2, 2], got i64[3]"},
};

}  // namespace

std::span<const ShapeCase> network_cases() { return kNetwork; }

}  // namespace ml::test
