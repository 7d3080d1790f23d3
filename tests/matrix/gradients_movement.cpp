// Gradients of reductions and of ops that move elements.
#include "engine/graph/ops/movement.h"

#include "tests/matrix/gradients.h"

namespace ml::test {
namespace {

using Parameters = std::span<const Var>;

// Squares, so that the second order is not empty.
Var squared(Var x) { return x * x; }

// The first three rows are written to by the last four.
template <Var (*write)(Var, Var, Var, std::int64_t, Reduction), Reduction reduction>
Vars written(Graph& g, Parameters p) {
  const bool each = write == scatter_elements;
  const Var at = each ? indices(g, {4, 2}, {1, 0, 2, 2, 1, 0, -1, 1}) : indices(g, {4}, {1, 2, 1, -1});
  return {squared(write(slice(p[0], {0, 0}, {3, 2}), at, slice(p[0], {3, 0}, {7, 2}), 0, reduction))};
}

const GradientCase kCases[] = {
    {"reduce_sum",
     {{{2, 3, 2}}},
     [](Graph&, Parameters x) -> Vars {
       return {squared(reduce_sum(x[0], {0, 2}))};
     }},
    {"reduce_sum over nothing", {{{0, 3}}}, [](Graph&, Parameters x) -> Vars { return {reduce_sum(x[0], {0})}; }},
    {"reduce_sum of a scalar", {{{}}}, [](Graph&, Parameters x) -> Vars { return {squared(reduce_sum(x[0]))}; }},
    {"reduce_sum that keeps",
     {{{2, 3}}},
     [](Graph&, Parameters x) -> Vars { return {x[0] * reduce_sum(x[0], {1}, true)}; }},
    {"reduce_mean", {{{2, 3}}}, [](Graph&, Parameters x) -> Vars { return {squared(reduce_mean(x[0], {1}))}; }},
    {"reduce_prod", {{{2, 5}}}, [](Graph&, Parameters x) -> Vars { return {reduce_prod(x[0], {1})}; }},
    {"reduce_prod of three axes",
     {{{2, 2, 2, 3}}},
     [](Graph&, Parameters x) -> Vars {
       return {reduce_prod(x[0], {0, 1, 3}, true)};
     }},
    {"reduce_prod with a zero",
     {{{4}}},
     [](Graph& g, Parameters x) -> Vars {
       return {reduce_prod(x[0] * cast(iota(g, DType::i64, {4}, 0), DType::f64))};
     }},
    {"reduce_prod with two zeros",
     {{{4}}},
     [](Graph& g, Parameters x) -> Vars {
       const Var two = cast(gt(iota(g, DType::i64, {4}, 0), 1), DType::f64);
       return {reduce_prod(x[0] * two + (x[0] - x[0]))};
     }},
    {"reduce_prod over nothing", {{{2, 0}}}, [](Graph&, Parameters x) -> Vars { return {reduce_prod(x[0], {1})}; }},
    {"reduce_prod of one", {{{3, 1}}}, [](Graph&, Parameters x) -> Vars { return {reduce_prod(squared(x[0]), {1})}; }},
    {"reduce_max", {{{3, 4}, kApart}}, [](Graph&, Parameters x) -> Vars { return {squared(reduce_max(x[0], {1}))}; }},
    {"reduce_min",
     {{{3, 2, 2}, kApart}},
     [](Graph&, Parameters x) -> Vars {
       return {squared(reduce_min(x[0], {0, 2}, true))};
     }},
    {"reduce_max over nothing",
     {{{0, 2}}},
     [](Graph&, Parameters x) -> Vars { return {maximum(reduce_max(x[0], {0}), 0.0)}; }},
    {"cumsum", {{{2, 4}}}, [](Graph&, Parameters x) -> Vars { return {squared(cumsum(x[0], 1))}; }},
    {"cumsum exclusive", {{{4}}}, [](Graph&, Parameters x) -> Vars { return {squared(cumsum(x[0], 0, true))}; }},
    {"cumsum reverse",
     {{{4, 2}}},
     [](Graph&, Parameters x) -> Vars { return {squared(cumsum(x[0], 0, false, true))}; }},
    {"cumsum both", {{{4}}}, [](Graph&, Parameters x) -> Vars { return {squared(cumsum(x[0], 0, true, true))}; }},
    {"through argmax",
     {{{2, 3}, kApart}},
     [](Graph&, Parameters x) -> Vars {
       return {squared(gather_elements(x[0], argmax(x[0], 1, true), 1)),
               squared(gather_elements(x[0], argmin(x[0], 1, true), 1))};
     }},

    {"reshape",
     {{{2, 3}}},
     [](Graph&, Parameters x) -> Vars {
       return {squared(reshape(x[0], {3, kUnknown}))};
     }},
    {"reshape to a scalar", {{{1}}}, [](Graph&, Parameters x) -> Vars { return {squared(reshape(x[0], {}))}; }},
    {"transpose",
     {{{2, 3, 2}}},
     [](Graph&, Parameters x) -> Vars {
       return {squared(transpose(x[0], {1, 2, 0}))};
     }},
    {"broadcast_to",
     {{{2, 1}}},
     [](Graph&, Parameters x) -> Vars {
       return {squared(broadcast_to(x[0], {2, 2, 3}))};
     }},
    {"concat", {{{2, 1}}, {{2, 0}}, {{2, 3}}}, [](Graph&, Parameters x) -> Vars { return {squared(concat(x, 1))}; }},
    {"slice",
     {{{5, 4}}},
     [](Graph&, Parameters x) -> Vars {
       return {squared(slice(x[0], {1, -3}, {4, 4}))};
     }},
    {"slice with strides",
     {{{7, 6}}},
     [](Graph&, Parameters x) -> Vars {
       return {squared(slice(x[0], {1, 0}, {7, 6}, {2, 3}))};
     }},
    {"slice of nothing", {{{3}}}, [](Graph&, Parameters x) -> Vars { return {slice(x[0], {2}, {1}, {2})}; }},
    {"slice of one by a long stride",
     {{{3}}},
     [](Graph&, Parameters x) -> Vars { return {squared(slice(x[0], {1}, {3}, {5}))}; }},
    {"pad",
     {{{2, 3}}},
     [](Graph&, Parameters x) -> Vars {
       return {squared(pad(x[0], {1, 0}, {0, 2}, 3))};
     }},
    {"pad between",
     {{{3, 1, 2}}},
     [](Graph&, Parameters x) -> Vars {
       auto attributes = std::make_shared<PadAttributes>();
       attributes->low = {1, 0, 0};
       attributes->high = {0, 1, 0};
       attributes->interior = {2, 3, 1};
       return {squared(emit("pad", {x[0]}, std::move(attributes)))};
     }},
    {"pad of nothing", {{{0}}}, [](Graph&, Parameters x) -> Vars { return {pad(x[0], {1}, {2}, 3)}; }},
    {"reverse",
     {{{2, 3}}},
     [](Graph& g, Parameters x) -> Vars {
       return {reverse(squared(x[0]), {1}) * cast(iota(g, DType::i64, {3}, 0), DType::f64)};
     }},

    {"gather",
     {{{4, 3}}},
     [](Graph& g, Parameters x) -> Vars {
       return {squared(gather(x[0], indices(g, {2, 2}, {0, 3, 0, -1}), 0))};
     }},
    {"gather one",
     {{{2, 3}}},
     [](Graph& g, Parameters x) -> Vars { return {squared(gather(x[0], indices(g, {}, {2}), 1))}; }},
    {"gather nothing",
     {{{2, 3}}},
     [](Graph& g, Parameters x) -> Vars { return {gather(x[0], indices(g, {0}, {}), 1)}; }},
    {"scatter_add",
     {{{3, 2}}, {{3, 2}}},
     [](Graph& g, Parameters x) -> Vars {
       return {squared(scatter_add(x[0], indices(g, {3}, {1, 1, -1}), x[1], 0))};
     }},
    {"gather_elements",
     {{{3, 3}}},
     [](Graph& g, Parameters x) -> Vars {
       return {squared(gather_elements(x[0], indices(g, {2, 4}, {0, 2, 2, 1, -1, 0, 1, 1}), 1))};
     }},
    {"scatter_elements_add",
     {{{3, 2}}, {{2, 2}}},
     [](Graph& g, Parameters x) -> Vars {
       return {squared(scatter_elements_add(x[0], indices(g, {2, 2}, {0, 2, 0, -1}), x[1], 0))};
     }},
    {"scatter", {{{7, 2}}}, written<scatter, Reduction::set>},
    {"scatter of products", {{{7, 2}, kPositive}}, written<scatter, Reduction::mul>},
    {"scatter of maxima", {{{7, 2}, kApart}}, written<scatter, Reduction::max>},
    {"scatter of minima", {{{7, 2}, kApart}}, written<scatter, Reduction::min>},
    {"scatter_elements", {{{7, 2}}}, written<scatter_elements, Reduction::set>},
    {"scatter_elements of products", {{{7, 2}, kPositive}}, written<scatter_elements, Reduction::mul>},
    {"scatter_elements of maxima", {{{7, 2}, kApart}}, written<scatter_elements, Reduction::max>},
    {"scatter_elements of minima", {{{7, 2}, kApart}}, written<scatter_elements, Reduction::min>},
    {"sort",
     {{{2, 4}, kApart}},
     [](Graph& g, Parameters x) -> Vars {
       return {squared(sort(x[0], 1).first) * cast(iota(g, DType::i64, {4}, 0), DType::f64)};
     }},
    {"sort descending",
     {{{4, 2}, kApart}},
     [](Graph&, Parameters x) -> Vars { return {squared(sort(x[0], 0, true).first)}; }},
    {"top_k", {{{2, 5}, kApart}}, [](Graph&, Parameters x) -> Vars { return {squared(top_k(x[0], 2, 1).first)}; }},
    {"top_k of the smallest",
     {{{5}, kApart}},
     [](Graph&, Parameters x) -> Vars { return {squared(top_k(x[0], 3, 0, false).first)}; }},
    {"top_k of none", {{{2, 3}, kApart}}, [](Graph&, Parameters x) -> Vars { return {top_k(x[0], 0, 1).first}; }},
    {"sort of nothing", {{{2, 0}}}, [](Graph&, Parameters x) -> Vars { return {squared(sort(x[0], 1).first)}; }},
    {"cumsum of nothing", {{{0}}}, [](Graph&, Parameters x) -> Vars { return {squared(cumsum(x[0], 0))}; }},
    {"gather nothing from nothing",
     {{{0, 3}}},
     [](Graph& g, Parameters x) -> Vars { return {squared(gather(x[0], indices(g, {0}, {}), 0))}; }},
    {"scatter_add of nothing",
     {{{3, 2}}, {{0, 2}}},
     [](Graph& g, Parameters x) -> Vars { return {squared(scatter_add(x[0], indices(g, {0}, {}), x[1], 0))}; }},
    {"gather_elements of nothing",
     {{{3, 2}}},
     [](Graph& g, Parameters x) -> Vars {
       return {squared(gather_elements(x[0], indices(g, {0, 2}, {}), 0))};
     }},
};

}  // namespace

std::span<const GradientCase> movement_gradients() { return kCases; }

}  // namespace ml::test
