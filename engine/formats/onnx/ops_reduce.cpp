// Reductions, arg-reductions, softmax and what is built from them.
#include <algorithm>
#include <numeric>

#include "engine/formats/onnx/node.h"
#include "engine/graph/build_nn.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// Axes are an attribute up to `last_attribute` and an optional input after it; without any, all axes are meant, unless
// the node says that nothing is to be done.
struct Axes {
  Ints axes;
  bool keep_dims;
  bool nothing;
};
Axes axes_of(Node n, int last_attribute) {
  Axes result{n.version() <= last_attribute ? n.ints("axes") : (n.has(1) ? n.ints_input(1) : Ints{}),
              n.integer("keepdims", 1) != 0, false};
  result.nothing = result.axes.empty() && n.integer("noop_with_empty_axes", 0) != 0;
  if (result.axes.empty()) {
    result.axes.resize(static_cast<std::size_t>(n.in(0).rank()));
    std::iota(result.axes.begin(), result.axes.end(), 0);
  }
  return result;
}

using Reduce = Var (*)(Var, Ints, bool);
using Map = Var (*)(Var);
Var same(Var x) { return x; }
Var square(Var x) { return x * x; }

// after(reduce(before(x))); without axes only the element-wise part remains.
template <Reduce reduce, Map before = same, Map after = same, int last_attribute = 17>
Results reduction(Node n) {
  const Axes a = axes_of(n, last_attribute);
  const Var x = before(n.in(0));
  return {after(a.nothing || n.in(0).rank() == 0 ? x : reduce(x, a.axes, a.keep_dims))};
}

Var mean(Var x, Ints axes, bool keep_dims) {
  if (is_floating(x.dtype())) return reduce_mean(x, std::move(axes), keep_dims);
  return cast(reduce_mean(cast(x, DType::f64), std::move(axes), keep_dims), x.dtype());
}

// log(sum(e^x)) around the maximum, so that nothing overflows.
Results log_sum_exp(Node n) {
  const Axes a = axes_of(n, 17);
  const Var x = n.in(0);
  if (a.nothing || x.rank() == 0) return {x};
  const Var peak = reduce_max(x, a.axes, true);
  const Var finite = select(is_inf(peak), zeros_like(peak), peak);
  const Var result = log(reduce_sum(exp(x - finite), a.axes, true)) + finite;
  return {a.keep_dims ? result : squeeze(result, a.axes)};
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

Results cumulative_sum(Node n) {
  const auto axis = static_cast<std::int64_t>(n.number_input(1, 0));
  return {cumsum(n.in(0), axis, n.integer("exclusive", 0) != 0, n.integer("reverse", 0) != 0)};
}

// Before operator set 13 the default axis was 1, and all axes from it on were normalized together.
template <bool logarithm>
Results soft_max(Node n) {
  const Var x = n.in(0);
  const bool together = n.version() < 13;
  const int axis = normalize_axis(n.integer("axis", together ? 1 : -1), x.rank(), "axis");
  if (!together || axis == x.rank() - 1) return {logarithm ? log_softmax(x, axis) : softmax(x, axis)};
  Ints axes;
  for (int i = axis; i < x.rank(); ++i) axes.push_back(i);
  const Var shifted = x - reduce_max(x, axes, true);
  const Var power = exp(shifted);
  const Var sum = reduce_sum(power, axes, true);
  return {logarithm ? shifted - log(sum) : power / sum};
}

constexpr Operator kOperators[] = {
    {"ArgMax", 1, kAny, arg_reduction<argmax>},
    {"ArgMin", 1, kAny, arg_reduction<argmin>},
    {"CumSum", 11, kAny, cumulative_sum},
    {"LogSoftmax", 1, kAny, soft_max<true>},
    {"ReduceL1", 1, kAny, reduction<reduce_sum, abs>},
    {"ReduceL2", 1, kAny, reduction<reduce_sum, square, sqrt>},
    {"ReduceLogSum", 1, kAny, reduction<reduce_sum, same, log>},
    {"ReduceLogSumExp", 1, kAny, log_sum_exp},
    {"ReduceMax", 1, kAny, reduction<reduce_max>},
    {"ReduceMean", 1, kAny, reduction<mean>},
    {"ReduceMin", 1, kAny, reduction<reduce_min>},
    {"ReduceProd", 1, kAny, reduction<reduce_prod>},
    {"ReduceSum", 1, kAny, reduction<reduce_sum, same, same, 12>},
    {"ReduceSumSquare", 1, kAny, reduction<reduce_sum, square>},
    {"Softmax", 1, kAny, soft_max<false>},
};

}  // namespace

std::span<const Operator> reduce_operators() { return kOperators; }

}  // namespace ml::onnx
