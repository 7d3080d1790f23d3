// Reductions, arg-reductions and cumulative ones.
#include "engine/formats/onnx/axes.h"
#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// Folds `axes` of x, which may be none.
using Reduce = Var (*)(Var x, const Ints& axes, bool keep_dims);

Var fold(Var (*reduce)(Var, Ints, bool), Var x, const Ints& axes, bool keep_dims) {
  return axes.empty() ? x : reduce(x, axes, keep_dims);  // no axes would be all of them
}

// Integers go through f64 where a fraction or a logarithm may appear on the way.
template <Reduce reduce>
Var through_floats(Var x, const Ints& axes, bool keep_dims) {
  if (is_floating(x.dtype())) return reduce(x, axes, keep_dims);
  return cast(reduce(cast(x, DType::f64), axes, keep_dims), x.dtype());
}
// Booleans are 0 and 1.
template <Reduce reduce>
Var through_numbers(Var x, const Ints& axes, bool keep_dims) {
  if (x.dtype() != DType::boolean) return reduce(x, axes, keep_dims);
  return cast(reduce(cast(x, DType::u8), axes, keep_dims), DType::boolean);
}

Var sum(Var x, const Ints& axes, bool keep_dims) { return fold(reduce_sum, x, axes, keep_dims); }
Var mean(Var x, const Ints& axes, bool keep_dims) { return fold(reduce_mean, x, axes, keep_dims); }
Var prod(Var x, const Ints& axes, bool keep_dims) { return fold(reduce_prod, x, axes, keep_dims); }
Var max(Var x, const Ints& axes, bool keep_dims) { return fold(reduce_max, x, axes, keep_dims); }
Var min(Var x, const Ints& axes, bool keep_dims) { return fold(reduce_min, x, axes, keep_dims); }
Var l1(Var x, const Ints& axes, bool keep_dims) { return sum(abs(x), axes, keep_dims); }
Var sum_of_squares(Var x, const Ints& axes, bool keep_dims) { return sum(x * x, axes, keep_dims); }
Var l2(Var x, const Ints& axes, bool keep_dims) { return sqrt(sum_of_squares(x, axes, keep_dims)); }
Var log_sum(Var x, const Ints& axes, bool keep_dims) { return log(sum(x, axes, keep_dims)); }

// Around the maximum, so that nothing overflows.
Var log_sum_exp(Var x, const Ints& axes, bool keep_dims) {
  if (axes.empty()) return x;
  const Var peak = max(x, axes, true);
  const Var finite = select(is_inf(peak), scalar(*x.graph, x.dtype(), 0), peak);
  const Var result = log(sum(exp(x - finite), axes, true)) + finite;
  return keep_dims ? result : squeeze(result, axes);
}

// Axes that are computed when the model runs: they are moved behind the others, folded as one, and what is left gets
// the shape that they leave.
Var reduce_computed(Node n, Reduce reduce, const Axes& axes, bool keep_dims) {
  const Var x = n.in(0), extents = shape_of(x), one = number_of(n.graph, 1);
  Var folded = axes.flags(n.graph);
  if (axes.count() == kUnknown && n.integer("noop_with_empty_axes", 0) == 0)
    folded = logical_or(folded, eq(reduce_sum(cast(folded, DType::i64)), 0.0));
  const Var order = sort(cast(folded, DType::i64), 0).second;
  const Var rows[] = {reduce_prod(select(folded, one, extents)), reduce_prod(select(folded, extents, one))};
  const Var result = reduce(shaped(n, transpose_by(x, order), rows), {1}, false);
  if (keep_dims) return reshape_to(result, select(folded, one, extents), true);
  if (axes.count() == kUnknown) n.unsupported("a number of axes that is not known, and keepdims = 0");
  return reshape_to(result, gather(extents, slice(order, {0}, {x.rank() - axes.count()}), 0), true);
}

// Axes are an attribute up to `last_attribute` and an optional input after it. Without any all axes are meant, unless
// the node says that nothing is to be folded.
template <Reduce reduce, int last_attribute = 17>
Results reduction(Node n) {
  const Var x = n.in(0);
  const bool keep_dims = n.integer("keepdims", 1) != 0;
  const bool attribute = n.version() <= last_attribute;
  Ints folded = attribute ? n.ints("axes") : Ints{};
  if (!attribute && n.has(1)) {
    const Axes axes(n, n.in(1), x.rank());
    if (!axes.known()) return {reduce_computed(n, reduce, axes, keep_dims)};
    folded = axes.values();
  }
  if (folded.empty() && n.integer("noop_with_empty_axes", 0) == 0) {
    for (int axis = 0; axis < x.rank(); ++axis) folded.push_back(axis);
  }
  return {reduce(x, folded, keep_dims)};
}

template <Var (*arg)(Var, std::int64_t, bool)>
Results arg_reduction(Node n) {
  const std::int64_t axis = normalize_axis(n.integer("axis", 0), n.in(0).rank(), "axis");
  const bool keep_dims = n.integer("keepdims", 1) != 0;
  if (n.integer("select_last_index", 0) == 0) return {arg(n.in(0), axis, keep_dims)};
  const std::int64_t extent = n.in(0).shape()[static_cast<int>(axis)];
  if (extent == kUnknown) n.unsupported("select_last_index over an axis of unknown size");
  return {sub(static_cast<double>(extent - 1), arg(reverse(n.in(0), {axis}), axis, keep_dims))};
}

// `scan` along the axis that input 1 names; where that is computed, the one of all axes' results that it picks.
template <class Scan>
Var along_axis_input(Node n, Scan scan) {
  const Var x = n.in(0), axis = number_input(n, 1);
  if (const std::optional<std::int64_t> value = known_integer(axis))
    return scan(normalize_axis(*value, x.rank(), "axis"));
  std::vector<Var> results;
  for (int i = 0; i < x.rank(); ++i) results.push_back(unsqueeze(scan(i), {0}));
  return gather(concat(results, 0), axis, 0);
}

Results cumulative_sum(Node n) {
  const bool exclusive = n.integer("exclusive", 0) != 0, reverse = n.integer("reverse", 0) != 0;
  return {along_axis_input(n, [&](std::int64_t axis) { return cumsum(n.in(0), axis, exclusive, reverse); })};
}

// In log2(extent) steps: each multiplies with what stands `by` places earlier, which has the product of that many.
Results cumulative_product(Node n) {
  const bool backwards = n.integer("reverse", 0) != 0, exclusive = n.integer("exclusive", 0) != 0;
  const auto scan = [&](std::int64_t axis) {
    const Var x = n.in(0);
    const std::int64_t extent = x.shape()[static_cast<int>(axis)];
    if (extent == kUnknown) n.unsupported("CumProd along an axis of unknown size");
    const auto earlier = [&](Var value, std::int64_t by) {
      const auto at = static_cast<std::size_t>(axis);
      Ints starts(static_cast<std::size_t>(x.rank()), 0), ends(starts.size(), kSliceToEnd), low(starts), high(starts);
      (backwards ? starts : ends)[at] = backwards ? by : extent - by;
      (backwards ? high : low)[at] = by;
      return pad(slice(value, starts, ends), low, high, 1);
    };
    Var product = exclusive && extent > 0 ? earlier(x, 1) : x;
    for (std::int64_t by = 1; by<extent; by = by> extent / 2 ? extent : by * 2)
      product = product * earlier(product, by);
    return product;
  };
  return {along_axis_input(n, scan)};
}

constexpr Operator kOperators[] = {
    {"ArgMax", 1, kAny, arg_reduction<argmax>},
    {"ArgMin", 1, kAny, arg_reduction<argmin>},
    {"CumProd", 26, kAny, cumulative_product},
    {"CumSum", 11, kAny, cumulative_sum},
    {"ReduceL1", 1, kAny, reduction<l1>},
    {"ReduceL2", 1, kAny, reduction<through_floats<l2>>},
    {"ReduceLogSum", 1, kAny, reduction<through_floats<log_sum>>},
    {"ReduceLogSumExp", 1, kAny, reduction<through_floats<log_sum_exp>>},
    {"ReduceMax", 1, kAny, reduction<through_numbers<max>>},
    {"ReduceMean", 1, kAny, reduction<through_floats<mean>>},
    {"ReduceMin", 1, kAny, reduction<through_numbers<min>>},
    {"ReduceProd", 1, kAny, reduction<prod>},
    {"ReduceSum", 1, kAny, reduction<sum, 12>},
    {"ReduceSumSquare", 1, kAny, reduction<sum_of_squares>},
};

}  // namespace

std::span<const Operator> reduce_operators() { return kOperators; }

}  // namespace ml::onnx
