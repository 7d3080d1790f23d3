// Shape rules of the primitives: element-wise, matrix products, reductions.
#include "engine/graph/ops/matmul.h"
#include "engine/graph/ops/reduce.h"
#include "tests/unit/graph/shape_cases.h"

namespace ml::test {
namespace {

// A constant that says it is `shape` of f64 and lies in 16 bytes, `offset` bytes behind their start.
Var claim(Graph& g, const Shape& shape, std::uint64_t offset) {
  const std::byte bytes[16] = {};
  return constant(g, std::make_shared<ConstantData>(ConstantData{DType::f64, shape, Blob::copy_of(bytes), offset}));
}

const ShapeCase kElementwise[] = {
    {"constant", [](Graph& g) { return claim(g, {1}, 8); }, "f64[1]"},
    {"constant of nothing",
     [](Graph& g) {
       return claim(g, {0, 3}, 16);
     },
     "f64[0, 3]"},
    {"constant past its bytes", [](Graph& g) { return claim(g, {2}, 1); },
     "! constant: its bytes [1, +16) lie outside of a blob of 16 bytes"},
    {"constant far past its bytes", [](Graph& g) { return claim(g, {0}, ~std::uint64_t{0}); }, "! constant: its bytes"},
    {"constant whose size wraps", [](Graph& g) { return claim(g, {std::int64_t{1} << 61}, 0); },
     "! constant: f64[2305843009213693952] does not fit in a blob of 16 bytes"},
    {"constant of the unknown", [](Graph& g) { return claim(g, {kUnknown}, 0); },
     "! constant: has the unknown shape [?]"},
    {"add broadcasts", [](Graph& g) { return add(in(g, "f32[4, 1, 3]"), in(g, "f32[2, 1]")); }, "f32[4, 2, 3]"},
    {"add of scalars", [](Graph& g) { return add(in(g, "i8[]"), in(g, "i8[]")); }, "i8[]"},
    {"add of a scalar and nothing", [](Graph& g) { return add(in(g, "f64[]"), in(g, "f64[0, 3]")); }, "f64[0, 3]"},
    {"add broadcasts one to nothing", [](Graph& g) { return add(in(g, "f64[1]"), in(g, "f64[0]")); }, "f64[0]"},
    {"add with an unknown extent", [](Graph& g) { return add(in(g, "f32[?, 3]"), in(g, "f32[1, 3]")); }, "f32[?, 3]"},
    {"add learns an extent", [](Graph& g) { return add(in(g, "f32[?, 3]"), in(g, "f32[2, 3]")); }, "f32[2, 3]"},
    {"add with a number", [](Graph& g) { return in(g, "f16[2]") + 1.0; }, "f16[2]"},
    {"add of different shapes", [](Graph& g) { return add(in(g, "f32[2, 3]"), in(g, "f32[4, 3]")); },
     "! add: shapes do not broadcast: [2, 3] and [4, 3] (2 vs 4)"},
    {"add of nothing and two", [](Graph& g) { return add(in(g, "f32[0]"), in(g, "f32[2]")); }, "! (0 vs 2)"},
    {"add of different dtypes", [](Graph& g) { return add(in(g, "f32[2]"), in(g, "f16[2]")); },
     "! add: operands have different dtypes: f32[2] and f16[2]"},
    {"select", [](Graph& g) { return select(in(g, "bool[3]"), in(g, "u8[2, 1]"), in(g, "u8[]")); }, "u8[2, 3]"},
    {"select by a number", [](Graph& g) { return select(in(g, "i32[3]"), in(g, "u8[3]"), in(g, "u8[3]")); },
     "! select: wants bool, got i32[3]"},
    {"select between dtypes", [](Graph& g) { return select(in(g, "bool[3]"), in(g, "u8[3]"), in(g, "i8[3]")); },
     "! select: operands have different dtypes: u8[3] and i8[3]"},
    {"cast", [](Graph& g) { return cast(in(g, "f32[2, ?]"), DType::boolean); }, "bool[2, ?]"},
    {"cast to what it is", [](Graph& g) { return cast(in(g, "f32[2]") + 1.0, DType::f32); }, "f32[2]"},
    {"relu", [](Graph& g) { return relu(in(g, "i32[2]")); }, "i32[2]"},
    {"relu of booleans", [](Graph& g) { return relu(in(g, "bool[2]")); }, "! relu: wants a numeric dtype"},
    {"gelu", [](Graph& g) { return gelu(in(g, "bf16[2, 0]")); }, "bf16[2, 0]"},
    {"gelu of integers", [](Graph& g) { return gelu(in(g, "i32[2]")); }, "! gelu: wants a floating dtype, got i32[2]"},
    {"silu", [](Graph& g) { return silu(in(g, "f64[]")); }, "f64[]"},
    {"hard_swish", [](Graph& g) { return hard_swish(in(g, "bf16[3]")); }, "bf16[3]"},
    {"hard_swish of integers", [](Graph& g) { return hard_swish(in(g, "u8[2]")); },
     "! hard_swish: wants a floating dtype, got u8[2]"},
    {"silu of integers", [](Graph& g) { return silu(in(g, "u8[2]")); }, "! silu: wants a floating dtype, got u8[2]"},
};

Var product(Graph& g, std::string_view a, std::string_view b, bool transpose_a = false, bool transpose_b = false) {
  return matmul(in(g, a), in(g, b), transpose_a, transpose_b);
}

const ShapeCase kMatmul[] = {
    {"matmul", [](Graph& g) { return product(g, "f32[2, 3]", "f32[3, 5]"); }, "f32[2, 5]"},
    {"matmul transposed left", [](Graph& g) { return product(g, "f32[3, 2]", "f32[3, 5]", true); }, "f32[2, 5]"},
    {"matmul transposed right", [](Graph& g) { return product(g, "f32[2, 3]", "f32[5, 3]", false, true); },
     "f32[2, 5]"},
    {"matmul batches", [](Graph& g) { return product(g, "i8[7, 1, 2, 3]", "i8[4, 3, 5]"); }, "i8[7, 4, 2, 5]"},
    {"matmul of nothing", [](Graph& g) { return product(g, "f32[2, 0]", "f32[0, 5]"); }, "f32[2, 5]"},
    {"matmul of no batches", [](Graph& g) { return product(g, "f32[0, 2, 3]", "f32[3, 5]"); }, "f32[0, 2, 5]"},
    {"matmul of unknown rows", [](Graph& g) { return product(g, "f32[?, 3]", "f32[3, ?]"); }, "f32[?, ?]"},
    {"matmul of unknown inner", [](Graph& g) { return product(g, "f32[2, ?]", "f32[3, 5]"); }, "f32[2, 5]"},
    {"matmul of vectors", [](Graph& g) { return product(g, "f32[3]", "f32[3]"); }, "f32[]"},
    {"matmul of a vector on the left", [](Graph& g) { return product(g, "f32[3]", "f32[4, 3, 5]"); }, "f32[4, 5]"},
    {"matmul of a vector on the right", [](Graph& g) { return product(g, "f32[4, 2, 3]", "f32[3]"); }, "f32[4, 2]"},
    {"matmul of inner extents that differ", [](Graph& g) { return product(g, "f32[2, 3]", "f32[4, 5]"); },
     "! matmul: inner dimensions differ: [2, 3] x [4, 5] (3 vs 4)"},
    {"matmul of transposed ones that differ", [](Graph& g) { return product(g, "f32[2, 3]", "f32[3, 5]", true); },
     "! matmul: inner dimensions differ: [2, 3] (transposed) x [3, 5] (2 vs 3)"},
    {"matmul of batches that differ", [](Graph& g) { return product(g, "f32[2, 2, 3]", "f32[4, 3, 5]"); },
     "! matmul: shapes do not broadcast: [2] and [4] (2 vs 4)"},
    {"matmul of dtypes", [](Graph& g) { return product(g, "f32[2, 3]", "f64[3, 5]"); },
     "! matmul: operands have different dtypes: f32[2, 3] and f64[3, 5]"},
    {"matmul of booleans", [](Graph& g) { return product(g, "bool[2, 3]", "bool[3, 5]"); },
     "! matmul: wants a numeric dtype, got bool[2, 3]"},
    {"matmul of a scalar", [](Graph& g) { return product(g, "f32[2, 3]", "f32[]"); },
     "! matmul: wants operands of at least two dimensions, got f32[]"},
};

const ShapeCase kReduce[] = {
    {"sum of everything", [](Graph& g) { return reduce_sum(in(g, "i8[2, 3]")); }, "i8[]"},
    {"sum of a scalar", [](Graph& g) { return reduce_sum(in(g, "f32[]")); }, "f32[]"},
    {"sum of one axis", [](Graph& g) { return reduce_sum(in(g, "f32[2, 3, 4]"), {-2}); }, "f32[2, 4]"},
    {"sum that keeps dimensions",
     [](Graph& g) {
       return reduce_sum(in(g, "f32[2, 3, 4]"), {2, 0}, true);
     },
     "f32[1, 3, 1]"},
    {"sum over nothing", [](Graph& g) { return reduce_sum(in(g, "f32[0, 3]"), {0}); }, "f32[3]"},
    {"sum of unknown extents", [](Graph& g) { return reduce_sum(in(g, "f32[?, 3, ?]"), {2}); }, "f32[?, 3]"},
    {"sum of booleans", [](Graph& g) { return reduce_sum(in(g, "bool[2]")); },
     "! reduce_sum: wants a numeric dtype, got bool[2]"},
    {"sum of an axis that is not there", [](Graph& g) { return reduce_sum(in(g, "f32[2]"), {1}); },
     "! reduce_sum: axis 1 is outside of a tensor with 1 dimensions"},
    {"sum of an axis twice",
     [](Graph& g) {
       return reduce_sum(in(g, "f32[2]"), {0, -1});
     },
     "! reduce_sum: axes must be sorted and unique"},
    {"sum of a negative axis in the row",
     [](Graph& g) {
       return emit("reduce_sum", {in(g, "f32[2]")}, attributes<ReduceAttributes>([](auto& a) { a.axes = {-1}; }));
     },
     "! reduce_sum: axis -1 is outside of f32[2]"},
    {"sum over no axes in the row", [](Graph& g) { return emit("reduce_sum", {in(g, "f32[2]")}); }, "f32[2]"},
    {"product", [](Graph& g) { return reduce_prod(in(g, "u16[2, 3]"), {1}); }, "u16[2]"},
    {"product of booleans", [](Graph& g) { return reduce_prod(in(g, "bool[2]")); }, "! reduce_prod: wants a numeric"},
    {"maximum", [](Graph& g) { return reduce_max(in(g, "f16[2, 3]"), {0}, true); }, "f16[1, 3]"},
    {"maximum of booleans", [](Graph& g) { return reduce_max(in(g, "bool[2]")); }, "! reduce_max: wants a numeric"},
    {"minimum", [](Graph& g) { return reduce_min(in(g, "i64[0]")); }, "i64[]"},
    {"minimum of booleans", [](Graph& g) { return reduce_min(in(g, "bool[2]")); }, "! reduce_min: wants a numeric"},
    {"mean", [](Graph& g) { return reduce_mean(in(g, "f16[2, ?]"), {0}); }, "f16[?]"},
    {"mean of integers", [](Graph& g) { return reduce_mean(in(g, "i32[2]")); },
     "! reduce_mean: wants a floating dtype, got i32[2]"},
    {"argmax", [](Graph& g) { return argmax(in(g, "f16[2, 3]"), -1); }, "i64[2]"},
    {"argmax that keeps the dimension", [](Graph& g) { return argmax(in(g, "u8[2, 3]"), 0, true); }, "i64[1, 3]"},
    {"argmax beside nothing", [](Graph& g) { return argmax(in(g, "f32[0, 3]"), 1); }, "i64[0]"},
    {"argmax over nothing", [](Graph& g) { return argmax(in(g, "f32[0, 3]"), 0); },
     "! argmax: axis 0 of f32[0, 3] has no elements"},
    {"argmax of a scalar", [](Graph& g) { return argmax(in(g, "f32[]"), 0); },
     "! argmax: axis 0 is outside of a tensor with 0 dimensions"},
    {"argmin", [](Graph& g) { return argmin(in(g, "f32[?, 3]"), 0); }, "i64[3]"},
    {"argmin of booleans", [](Graph& g) { return argmin(in(g, "bool[3]"), 0); }, "! argmin: wants a numeric dtype"},
    {"cumsum", [](Graph& g) { return cumsum(in(g, "i32[2, 0, ?]"), -2, true, true); }, "i32[2, 0, ?]"},
    {"cumsum of a scalar", [](Graph& g) { return cumsum(in(g, "f32[]"), 0); },
     "! cumsum: axis 0 is outside of a tensor with 0 dimensions"},
    {"cumsum of booleans", [](Graph& g) { return cumsum(in(g, "bool[2]"), 0); }, "! cumsum: wants a numeric dtype"},
    {"sum_to",
     [](Graph& g) {
       return sum_to(in(g, "f32[4, 2, 3]"), {2, 1});
     },
     "f32[2, 1]"},
    {"sum_to a scalar", [](Graph& g) { return sum_to(in(g, "f32[4, 2]"), {}); }, "f32[]"},
    {"sum_to nothing", [](Graph& g) { return sum_to(in(g, "f32[4, 0]"), {0}); }, "f32[0]"},
    {"sum_to what does not broadcast", [](Graph& g) { return sum_to(in(g, "f32[4, 2]"), {3}); },
     "! sum_to: [3] does not broadcast to [4, 2]"},
    {"sum_to more dimensions",
     [](Graph& g) {
       return sum_to(in(g, "f32[4]"), {1, 4});
     },
     "! sum_to: [1, 4] does not broadcast to [4]"},
};

}  // namespace

std::span<const ShapeCase> elementwise_cases() { return kElementwise; }
std::span<const ShapeCase> matmul_cases() { return kMatmul; }
std::span<const ShapeCase> reduce_cases() { return kReduce; }

}  // namespace ml::test
