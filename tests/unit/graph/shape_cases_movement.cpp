// Shape rules of ops that move elements.
#include "engine/graph/ops/indexing.h"
#include "engine/graph/ops/movement.h"
#include "tests/unit/graph/shape_cases.h"

namespace ml::test {
namespace {

constexpr std::int64_t kHuge = std::int64_t{1} << 62;

Var reshape_row(Var x, Ints dims) {
  return emit("reshape", {x}, attributes<ReshapeAttributes>([&](auto& a) { a.dims = dims; }));
}
Var join(std::initializer_list<Var> parts, std::int64_t axis) {
  return concat(std::span(parts.begin(), parts.size()), axis);
}

const ShapeCase kMovement[] = {
    {"reshape",
     [](Graph& g) {
       return reshape(in(g, "f32[2, 6]"), {3, 4});
     },
     "f32[3, 4]"},
    {"reshape to the same", [](Graph& g) { return reshape(-in(g, "f32[2]"), {2}); }, "f32[2]"},
    {"reshape to a scalar", [](Graph& g) { return reshape(in(g, "bool[1, 1]"), {}); }, "bool[]"},
    {"reshape of a scalar",
     [](Graph& g) {
       return reshape(in(g, "bool[]"), {1, kUnknown});
     },
     "bool[1, 1]"},
    {"reshape infers",
     [](Graph& g) {
       return reshape(in(g, "f32[2, 6]"), {kUnknown, 3});
     },
     "f32[4, 3]"},
    {"reshape infers nothing",
     [](Graph& g) {
       return reshape(in(g, "f32[0, 6]"), {kUnknown, 3});
     },
     "f32[0, 3]"},
    {"reshape of nothing",
     [](Graph& g) {
       return reshape(in(g, "f32[0, 6]"), {5, 0});
     },
     "f32[5, 0]"},
    {"reshape of the unknown",
     [](Graph& g) {
       return reshape(in(g, "f32[?, 6]"), {kUnknown, 3});
     },
     "f32[?, 3]"},
    {"reshape that keeps",
     [](Graph& g) {
       return reshape_row(in(g, "f32[?, 4, ?]"), {-4, 2, -1, -2});
     },
     "f32[?, 2, ?, ?]"},
    {"reshape keeps what is known",
     [](Graph& g) {
       return reshape_row(in(g, "f32[3, 4, 5]"), {-4, 2, -1, -2});
     },
     "f32[5, 2, 2, 3]"},
    {"reshape to another size", [](Graph& g) { return reshape(in(g, "f32[2, 3]"), {4}); },
     "! reshape: cannot make [4] of f32[2, 3]: 6 elements do not make 4"},
    {"reshape to no multiple",
     [](Graph& g) {
       return reshape(in(g, "f32[2, 3]"), {4, kUnknown});
     },
     "! reshape: cannot make [4, -1] of f32[2, 3]: 6 elements are not a multiple of 4"},
    {"reshape infers twice",
     [](Graph& g) {
       return reshape(in(g, "f32[2, 3]"), {kUnknown, kUnknown});
     },
     "! at most one extent can be inferred"},
    {"reshape infers beside nothing",
     [](Graph& g) {
       return reshape(in(g, "f32[0, 3]"), {0, kUnknown});
     },
     "! beside an extent of 0 none can be inferred"},
    {"reshape keeps what is not there", [](Graph& g) { return reshape_row(in(g, "f32[2, 3]"), {-4}); },
     "! the input has no dimension 2"},
    {"reshape to too many dimensions", [](Graph& g) { return reshape_row(in(g, "f32[1]"), Ints(9, 1)); },
     "! reshape: a tensor has at most 8 dimensions, not 9"},
    {"reshape to too many elements",
     [](Graph& g) {
       return reshape(in(g, "f32[2]"), {kHuge, kHuge});
     },
     "! reshape: an extent would exceed 2^63"},
    {"squeeze",
     [](Graph& g) {
       return squeeze(in(g, "f32[1, ?, 1, ?]"), {0, -2});
     },
     "f32[?, ?]"},
    {"squeeze of two", [](Graph& g) { return squeeze(in(g, "f32[2, 1]"), {0}); },
     "! squeeze: dimension 0 of [2, 1] is not 1"},
    {"squeeze twice",
     [](Graph& g) {
       return squeeze(in(g, "f32[1, 2]"), {0, -2});
     },
     "! squeeze: axis -2 is named twice"},
    {"unsqueeze",
     [](Graph& g) {
       return unsqueeze(in(g, "f32[?, ?]"), {0, -1});
     },
     "f32[1, ?, ?, 1]"},
    {"unsqueeze of a scalar",
     [](Graph& g) {
       return unsqueeze(in(g, "f32[]"), {0, 1});
     },
     "f32[1, 1]"},
    {"unsqueeze too often", [](Graph& g) { return unsqueeze(in(g, "f32[]"), Ints(9, 0)); }, "! at most 8 dimensions"},

    {"broadcast_to",
     [](Graph& g) {
       return broadcast_to(in(g, "f32[3, 1]"), {2, 3, 4});
     },
     "f32[2, 3, 4]"},
    {"broadcast_to nothing", [](Graph& g) { return broadcast_to(in(g, "f32[1]"), {0}); }, "f32[0]"},
    {"broadcast_to of a scalar",
     [](Graph& g) {
       return broadcast_to(in(g, "bool[]"), {2, 3});
     },
     "bool[2, 3]"},
    {"broadcast_to keeps",
     [](Graph& g) {
       return broadcast_to(in(g, "f32[?, 1]"), {2, kUnknown, 3});
     },
     "f32[2, ?, 3]"},
    {"broadcast_to another extent", [](Graph& g) { return broadcast_to(in(g, "f32[3]"), {4}); },
     "! broadcast_to: [3] does not broadcast to [4]"},
    {"broadcast_to fewer dimensions", [](Graph& g) { return broadcast_to(in(g, "f32[1, 3]"), {3}); },
     "! broadcast_to: [1, 3] does not broadcast to [3]"},
    {"broadcast_to of nothing", [](Graph& g) { return broadcast_to(in(g, "f32[0]"), {2}); },
     "! broadcast_to: [0] does not broadcast to [2]"},
    {"broadcast_to new and unknown",
     [](Graph& g) {
       return broadcast_to(in(g, "f32[3]"), {kUnknown, 3});
     },
     "! broadcast_to: the new dimension 0 needs an extent"},

    {"transpose",
     [](Graph& g) {
       return transpose(in(g, "f32[2, 3, ?]"), {2, 0, -2});
     },
     "f32[?, 2, 3]"},
    {"transpose of a scalar", [](Graph& g) { return transpose(in(g, "f32[]"), {}); }, "f32[]"},
    {"transpose of too few", [](Graph& g) { return transpose(in(g, "f32[2, 3]"), {0}); },
     "! transpose: order has 1 entries for f32[2, 3]"},
    {"transpose of one twice",
     [](Graph& g) {
       return transpose(in(g, "f32[2, 3]"), {1, -1});
     },
     "! transpose: order names dimension 1 twice"},
    {"transpose of what is not there",
     [](Graph& g) {
       return transpose(in(g, "f32[2, 3]"), {0, 2});
     },
     "! transpose: axis 2 is outside of a tensor with 2 dimensions"},

    {"concat",
     [](Graph& g) {
       return join({in(g, "u8[2, 3]"), in(g, "u8[2, 0]"), in(g, "u8[2, 1]")}, -1);
     },
     "u8[2, 4]"},
    {"concat of one", [](Graph& g) { return join({in(g, "u8[2]")}, 0); }, "u8[2]"},
    {"concat learns",
     [](Graph& g) {
       return join({in(g, "u8[?, 3]"), in(g, "u8[2, ?]")}, 1);
     },
     "u8[2, ?]"},
    {"concat of nothing", [](Graph&) { return concat({}, 0); }, "! concat: there is nothing to join"},
    {"concat of others",
     [](Graph& g) {
       return join({in(g, "u8[2, 3]"), in(g, "u8[3, 3]")}, 1);
     },
     "! concat: part 1 does not fit: [3, 3] behind [2, 3] along axis 1"},
    {"concat of ranks",
     [](Graph& g) {
       return join({in(g, "u8[2]"), in(g, "u8[]")}, 0);
     },
     "! concat: part 1 does not fit: [] behind [2] along axis 0"},
    {"concat of scalars",
     [](Graph& g) {
       return join({in(g, "u8[]"), in(g, "u8[]")}, 0);
     },
     "! concat: axis 0 is outside of a tensor with 0 dimensions"},
    {"concat of dtypes",
     [](Graph& g) {
       return join({in(g, "u8[2]"), in(g, "i8[2]")}, 0);
     },
     "! concat: operands have different dtypes: u8[2] and i8[2]"},
    {"concat of too much",
     [](Graph& g) {
       const Var x{&g, g.add_input("huge", {DType::u8, {kHuge}})};
       return join({x, x}, 0);
     },
     "! concat: an extent would exceed 2^63"},

    {"slice",
     [](Graph& g) {
       return slice(in(g, "f32[5, 6]"), {1, 0}, {4, 6}, {2, 4});
     },
     "f32[2, 2]"},
    {"slice from the end", [](Graph& g) { return slice(in(g, "f32[5]"), {-3}, {-1}); }, "f32[2]"},
    {"slice is clamped", [](Graph& g) { return slice(in(g, "f32[5]"), {-9}, {kSliceToEnd}); }, "f32[5]"},
    {"slice of nothing",
     [](Graph& g) {
       return slice(in(g, "f32[5, 0]"), {4, 0}, {2, 3});
     },
     "f32[0, 0]"},
    {"slice of a scalar", [](Graph& g) { return slice(in(g, "f32[]"), {}, {}); }, "f32[]"},
    {"slice of the unknown",
     [](Graph& g) {
       return slice(in(g, "f32[?, 4]"), {0, 0}, {2, 2});
     },
     "f32[?, 2]"},
    {"slice backwards", [](Graph& g) { return slice(in(g, "f32[5]"), {4}, {0}, {-1}); },
     "! slice: stride -1 is not positive"},
    {"slice of too few", [](Graph& g) { return slice(in(g, "f32[5, 5]"), {4}, {0}); },
     "! slice: starts has 1 entries for f32[5, 5]"},

    {"pad",
     [](Graph& g) {
       return pad(in(g, "bool[2, 0]"), {1, 0}, {0, 3}, 1);
     },
     "bool[3, 3]"},
    {"pad of a scalar", [](Graph& g) { return pad(in(g, "f32[]"), {}, {}); }, "f32[]"},
    {"pad between",
     [](Graph& g) {
       return emit("pad", {in(g, "f32[3, 0, 1, ?]")}, attributes<PadAttributes>([](auto& a) {
                     a.low = a.high = {1, 1, 1, 1};
                     a.interior = {2, 2, 2, 2};
                   }));
     },
     "f32[9, 2, 3, ?]"},
    {"pad by less", [](Graph& g) { return pad(in(g, "f32[3]"), {-1}, {0}); }, "! pad: cannot pad by -1"},
    {"pad of too few", [](Graph& g) { return pad(in(g, "f32[3]"), {}, {}); }, "! pad: low has 0 entries for f32[3]"},
    {"pad by too much", [](Graph& g) { return pad(in(g, "f32[3]"), {kHuge}, {kHuge}); },
     "! pad: an extent would exceed 2^63"},

    {"reverse",
     [](Graph& g) {
       return reverse(in(g, "f32[3, ?]"), {-1, 0});
     },
     "f32[3, ?]"},
    {"reverse of nothing", [](Graph& g) { return reverse(in(g, "bool[]"), {}); }, "bool[]"},
    {"reverse of one twice",
     [](Graph& g) {
       return reverse(in(g, "f32[3]"), {0, -1});
     },
     "! reverse: axis -1 is named twice"},
    {"reverse in the row",
     [](Graph& g) {
       return emit("reverse", {in(g, "f32[3, 2]")}, attributes<ReverseAttributes>([](auto& a) { a.axes = {1, 0}; }));
     },
     "! reverse: axes must be sorted and unique"},

    {"iota",
     [](Graph& g) {
       return iota(g, DType::u8, {2, 3}, -1);
     },
     "u8[2, 3]"},
    {"iota of nothing", [](Graph& g) { return iota(g, DType::f16, {0}, 0); }, "f16[0]"},
    {"iota of a scalar", [](Graph& g) { return iota(g, DType::u8, {}, 0); },
     "! iota: axis 0 is outside of a tensor with 0 dimensions"},
    {"iota of booleans", [](Graph& g) { return iota(g, DType::boolean, {2}, 0); },
     "! iota: wants a numeric dtype, got bool[2]"},
    {"iota of a narrow dtype", [](Graph& g) { return iota(g, DType::u4, {2}, 0); },
     "! iota: wants a numeric dtype, got u4[2]"},
    {"iota of the unknown", [](Graph& g) { return iota(g, DType::i32, {kUnknown}, 0); },
     "! iota: wants a known shape, got i32[?]"},
};

const ShapeCase kIndexing[] = {
    {"gather", [](Graph& g) { return gather(in(g, "bool[5, 6, 7]"), in(g, "i32[2, 3]"), 1); }, "bool[5, 2, 3, 7]"},
    {"gather one", [](Graph& g) { return gather(in(g, "f32[5, 6]"), in(g, "i64[]"), 0); }, "f32[6]"},
    {"gather nothing", [](Graph& g) { return gather(in(g, "f32[5, 6]"), in(g, "i64[0]"), -1); }, "f32[5, 0]"},
    {"gather from nothing", [](Graph& g) { return gather(in(g, "f32[0, 6]"), in(g, "i64[2]"), 0); }, "f32[2, 6]"},
    {"gather by floats", [](Graph& g) { return gather(in(g, "f32[5]"), in(g, "f32[2]"), 0); },
     "! gather: wants i32 or i64 indices, got f32[2]"},
    {"gather from a scalar", [](Graph& g) { return gather(in(g, "f32[]"), in(g, "i64[2]"), 0); },
     "! gather: axis 0 is outside of a tensor with 0 dimensions"},
    {"gather too many dimensions",
     [](Graph& g) { return gather(in(g, "f32[1, 1, 1, 1, 1]"), in(g, "i64[1, 1, 1, 1, 1]"), 0); },
     "! gather: the result of [1, 1, 1, 1, 1] indices into [1, 1, 1, 1, 1] has more than 8 dimensions"},
    {"bit_cast", [](Graph& g) { return bit_cast(in(g, "f32[5, ?]"), DType::i32); }, "i32[5, ?]"},
    {"bit_cast of 4 bits", [](Graph& g) { return bit_cast(in(g, "f4e2m1[3]"), DType::i4); }, "i4[3]"},
    {"bit_cast of 4 bits to 8", [](Graph& g) { return bit_cast(in(g, "i4[3]"), DType::u8); },
     "! bit_cast: i4[3] has elements of another width than u8"},
    {"bit_cast to another width", [](Graph& g) { return bit_cast(in(g, "f32[5]"), DType::i16); },
     "! bit_cast: f32[5] has elements of another width than i16"},
    {"bit_cast to booleans", [](Graph& g) { return bit_cast(in(g, "u8[5]"), DType::boolean); },
     "! bit_cast: not every byte is a bool"},
    {"scatter_add", [](Graph& g) { return scatter_add(in(g, "f32[5, 6]"), in(g, "i32[2]"), in(g, "f32[5, 2]"), 1); },
     "f32[5, 6]"},
    {"scatter_add of the unknown",
     [](Graph& g) { return scatter_add(in(g, "f32[?, 6]"), in(g, "i32[2]"), in(g, "f32[4, 2]"), 1); }, "f32[?, 6]"},
    {"scatter_add of others",
     [](Graph& g) { return scatter_add(in(g, "f32[5, 6]"), in(g, "i32[2]"), in(g, "f32[2, 5]"), 1); },
     "! scatter: updates must be f32[5, 2], not f32[2, 5]"},
    {"scatter_add of dtypes",
     [](Graph& g) { return scatter_add(in(g, "f32[5]"), in(g, "i32[2]"), in(g, "f64[2]"), 0); },
     "! scatter: updates must be f32[2], not f64[2]"},
    {"scatter_add of booleans",
     [](Graph& g) { return scatter_add(in(g, "bool[5]"), in(g, "i32[2]"), in(g, "bool[2]"), 0); },
     "! scatter: wants a numeric dtype, got bool[5]"},
    {"scatter of booleans",
     [](Graph& g) { return scatter(in(g, "bool[5]"), in(g, "i32[2]"), in(g, "bool[2]"), 0, Reduction::set); },
     "bool[5]"},
    {"scatter of another reduction",
     [](Graph& g) { return scatter(in(g, "f32[5]"), in(g, "i32[2]"), in(g, "f32[2]"), 0, static_cast<Reduction>(5)); },
     "! scatter: there is no reduction 5"},
    {"gather_elements", [](Graph& g) { return gather_elements(in(g, "u8[5, 6]"), in(g, "i64[3, 9]"), 1); }, "u8[3, 9]"},
    {"gather_elements of ranks", [](Graph& g) { return gather_elements(in(g, "u8[5, 6]"), in(g, "i64[5]"), 1); },
     "! gather_elements: indices of shape [5] do not fit [5, 6] along axis 1"},
    {"gather_elements past the end", [](Graph& g) { return gather_elements(in(g, "u8[5, 6]"), in(g, "i64[6, 6]"), 1); },
     "! gather_elements: indices of shape [6, 6] do not fit [5, 6] along axis 1"},
    {"scatter_elements_add",
     [](Graph& g) { return scatter_elements_add(in(g, "i8[5, 6]"), in(g, "i64[3, 9]"), in(g, "i8[3, 9]"), 1); },
     "i8[5, 6]"},
    {"scatter_elements_add of others",
     [](Graph& g) { return scatter_elements_add(in(g, "i8[5, 6]"), in(g, "i64[3, 9]"), in(g, "i8[3, 8]"), 1); },
     "! scatter_elements: updates must be i8[3, 9], not i8[3, 8]"},
    {"sort", [](Graph& g) { return sort(in(g, "f16[2, ?]"), -1).first; }, "f16[2, ?] i64[2, ?]"},
    {"sort of nothing", [](Graph& g) { return sort(in(g, "f32[2, 0]"), 1, true).first; }, "f32[2, 0] i64[2, 0]"},
    {"sort of a scalar", [](Graph& g) { return sort(in(g, "f32[]"), 0).first; },
     "! sort: axis 0 is outside of a tensor with 0 dimensions"},
    {"sort of booleans", [](Graph& g) { return sort(in(g, "bool[2]"), 0).first; }, "! sort: wants a numeric dtype"},
    {"top_k", [](Graph& g) { return top_k(in(g, "u8[2, 5]"), 3, 1).first; }, "u8[2, 3] i64[2, 3]"},
    {"top_k of none", [](Graph& g) { return top_k(in(g, "u8[2, 5]"), 0, 1, false).first; }, "u8[2, 0] i64[2, 0]"},
    {"top_k of the unknown", [](Graph& g) { return top_k(in(g, "f32[?, ?]"), 3, 1).first; }, "f32[?, 3] i64[?, 3]"},
    {"top_k of too many", [](Graph& g) { return top_k(in(g, "u8[2, 5]"), 6, 1).first; },
     "! top_k: k = 6 is outside of axis 1 of u8[2, 5]"},
    {"top_k of fewer than none", [](Graph& g) { return top_k(in(g, "u8[2, 5]"), -1, 1).first; },
     "! top_k: k = -1 is outside of axis 1 of u8[2, 5]"},
};

}  // namespace

std::span<const ShapeCase> movement_cases() { return kMovement; }
std::span<const ShapeCase> indexing_cases() { return kIndexing; }

}  // namespace ml::test
