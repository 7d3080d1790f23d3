// Pooling.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/formats/onnx/window.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// `x` with the pads that only a bound graph knows; the others become the window's.
Var prepared(Node n, Window& w, Var x, double value) {
  if (w.pads_first()) {
    const Var fill = scalar(n.graph, x.dtype(), value);
    return padded(n, padded(n, x, w.pads, "constant", fill), w.ceil_pads, "constant", fill);
  }
  for (std::size_t d = 0; d < w.size.size(); ++d) w.windows.pad_high[d] += std::exchange(w.ceil_pad[d], 0);
  return x;
}

// For every element of x its place in memory, or with `column_major` that in pictures whose first dimension runs
// fastest. In f64, which max_pool_select can carry and which is exact.
Var places(Node n, Var x, bool column_major) {
  const int spatial = x.rank() - 2;
  Var positions = number_of(n.graph, 1), rows = extent_of(x, 0) * extent_of(x, 1);
  std::vector<Var> extents{number_of(n.graph, 1), number_of(n.graph, 1)};
  for (int d = 0; d < spatial; ++d) {
    extents.push_back(extent_of(x, d + 2));
    positions = positions * extents.back();
  }
  if (column_major) std::reverse(extents.begin() + 2, extents.end());
  Var place = n.settled(reshape_to(count_up(n, positions, DType::f64), vector_of(extents), true));
  if (column_major) {
    Ints order{0, 1};
    for (int d = spatial; d > 0; --d) order.push_back(d + 1);
    place = transpose(place, order);
  }
  std::vector<Var> pictures{extent_of(x, 0), extent_of(x, 1)};
  pictures.resize(static_cast<std::size_t>(x.rank()), number_of(n.graph, 1));
  const Var first = count_up(n, rows, DType::f64) * cast(positions, DType::f64);
  return n.settled(reshape_to(first, vector_of(pictures), true)) + place;
}

Results max_pool_operator(Node n) {
  Window w = window_of(n, kernel_shape(n));
  Window same = w;
  const Var x = prepared(n, w, n.in(0), -std::numeric_limits<double>::infinity());
  Results results{max_pool(x, w.size, w.windows)};
  if (n.wants_output(1)) {
    const Var place = prepared(n, same, places(n, n.in(0), n.integer("storage_order", 0) != 0), 0);
    results.push_back(cast(max_pool_select(cast(x, DType::f64), place, w.size, w.windows), DType::i64));
  }
  return results;
}

// What ceil_mode adds is never counted, padding is when count_include_pad says so.
Results average_pool_operator(Node n) {
  Window w = window_of(n, kernel_shape(n));
  const bool count_padding = n.integer("count_include_pad", 0) != 0;
  Var x = n.in(0);
  if (w.pads_first()) {
    // The sum of each window over the sum of what counts in it.
    std::vector<Var> shape{number_of(n.graph, 1), number_of(n.graph, 1)};
    for (int axis = 2; axis < x.rank(); ++axis) shape.push_back(extent_of(x, axis));
    const Var one = scalar(n.graph, x.dtype(), 1), zero = scalar(n.graph, x.dtype(), 0);
    Var counted = padded(n, filled(n, one, vector_of(shape)), w.pads, "constant", count_padding ? one : zero);
    counted = padded(n, counted, w.ceil_pads, "constant", zero);
    x = prepared(n, w, x, 0);
    return {average_pool(x, w.size, w.windows, true) / average_pool(counted, w.size, w.windows, true)};
  }
  const bool ceil_adds = std::ranges::any_of(w.ceil_pad, [](std::int64_t p) { return p > 0; });
  if (count_padding && ceil_adds) {
    Ints low{0, 0}, high{0, 0};  // padding becomes part of the input
    low.insert(low.end(), w.windows.pad_low.begin(), w.windows.pad_low.end());
    high.insert(high.end(), w.windows.pad_high.begin(), w.windows.pad_high.end());
    x = pad(x, low, high);
    w.windows.pad_low.assign(w.size.size(), 0);
    w.windows.pad_high.assign(w.size.size(), 0);
  }
  x = prepared(n, w, x, 0);
  return {average_pool(x, w.size, w.windows, count_padding && !ceil_adds)};
}

// |x|^p, and the root that undoes it.
Var power_of(Var x, double p) { return p == 1 ? abs(x) : p == 2 ? x * x : pow(abs(x), p); }
Var root_of(Var x, double p) { return p == 1 ? x : p == 2 ? sqrt(x) : pow(x, 1 / p); }

// p was a float in operator set 1.
double p_of(Node n) {
  const double p = n.version() < 2 ? n.number("p", 2) : static_cast<double>(n.integer("p", 2));
  if (!(p > 0)) n.invalid("p is " + std::to_string(p));
  return p;
}

Results lp_pool(Node n) {
  Window w = window_of(n, kernel_shape(n));
  const double p = p_of(n);
  const Var x = prepared(n, w, power_of(n.in(0), p), 0);
  return {root_of(average_pool(x, w.size, w.windows, true) * static_cast<double>(w.positions()), p)};
}

// Elements written where a MaxPool has found them: `indices` are places in the picture that the window makes of x,
// which lies at the corner of a larger one when output_shape tells that.
Results max_unpool(Node n) {
  const Var x = n.in(0), indices = cast(n.in(1), DType::i64);
  const Ints size = kernel_shape(n);
  const Windows w = plain_windows(n, size);
  std::vector<Var> shape{extent_of(x, 0), extent_of(x, 1)};
  for (std::size_t d = 0; d < size.size(); ++d) {
    shape.push_back((extent_of(x, static_cast<int>(d) + 2) - 1.0) * static_cast<double>(w.strides[d]) +
                    static_cast<double>(size[d] - w.pad_low[d] - w.pad_high[d]));
  }
  Var elements = number_of(n.graph, 1);
  for (const Var& extent : shape) elements = elements * extent;
  const Var zero = scalar(n.graph, x.dtype(), 0), nothing = filled(n, zero, reshape(elements, Shape{1}));
  const Var placed = scatter(nothing, reshaped(indices, {kUnknown}), reshaped(x, {kUnknown}), 0, Reduction::set);
  const Var y = n.settled(reshape_to(placed, vector_of(shape), true));
  if (!n.has(2)) return {y};
  std::vector<Padding> more;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const Var wanted = cast(element(n, n.in(2), axis), DType::i64);
    more.push_back({axis, number_of(n.graph, 0), wanted - shape[static_cast<std::size_t>(axis)]});
  }
  return {padded(n, y, more, "constant", zero)};
}

Ints spatial_axes(Var x) {
  Ints axes(static_cast<std::size_t>(std::max(x.rank() - 2, 0)));
  std::iota(axes.begin(), axes.end(), 2);
  return axes;
}
Results global_average_pool(Node n) { return {reduce_mean(n.in(0), spatial_axes(n.in(0)), true)}; }
Results global_max_pool(Node n) { return {reduce_max(n.in(0), spatial_axes(n.in(0)), true)}; }
Results global_lp_pool(Node n) {
  const double p = p_of(n);
  return {root_of(reduce_sum(power_of(n.in(0), p), spatial_axes(n.in(0)), true), p)};
}

constexpr Operator kOperators[] = {
    {"AveragePool", 1, kAny, average_pool_operator},
    {"GlobalAveragePool", 1, kAny, global_average_pool},
    {"GlobalLpPool", 1, kAny, global_lp_pool},
    {"GlobalMaxPool", 1, kAny, global_max_pool},
    {"LpPool", 1, kAny, lp_pool},
    {"MaxPool", 1, kAny, max_pool_operator},
    {"MaxUnpool", 9, kAny, max_unpool},
};

}  // namespace

std::span<const Operator> pool_operators() { return kOperators; }

}  // namespace ml::onnx
