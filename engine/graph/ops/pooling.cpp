// Pooling over one to three spatial dimensions: x [N, C, spatial...] -> y [N, C, counts...].
//
// The decompositions go one dimension at a time, the last one first: windows are boxes, so both the sum and the first
// maximum in row-major order are those of the rows' sums and first maxima.
#include "engine/graph/ops/pooling.h"

#include <algorithm>
#include <limits>

#include "engine/graph/build_nn.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/movement.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

// A decomposition has a node for each position of a window in each dimension.
constexpr std::int64_t kMaxWindow = 65536;

Shape pooled(const InferArguments& a, const Shape& x, const Ints& size, const Windows& windows) {
  if (x.rank() < 3 || x.rank() > 5)
    rules::fail(a, "wants 1 to 3 spatial dimensions after the first two, got shape " + x.str());
  const int spatial = x.rank() - 2;
  rules::check_windows(a, windows, spatial);
  if (size.size() != static_cast<std::size_t>(spatial)) {
    rules::fail(a, "size has " + std::to_string(size.size()) + " entries for " + std::to_string(spatial) +
                       " spatial dimensions");
  }
  Shape y{x[0], x[1]};
  for (int d = 0; d < spatial; ++d) {
    const auto i = static_cast<std::size_t>(d);
    if (size[i] < 1 || size[i] > kMaxWindow)
      rules::fail(a, "windows have 1 to 65536 positions in a dimension, not " + std::to_string(size[i]));
    const std::int64_t reach = (size[i] - 1) * windows.dilations[i] + 1;
    if (std::max(windows.pad_low[i], windows.pad_high[i]) >= reach) {
      rules::fail(a, "padding of " + std::to_string(std::max(windows.pad_low[i], windows.pad_high[i])) +
                         " holds a whole window of " + std::to_string(reach) + " in spatial dimension " +
                         std::to_string(d));
    }
    y.append(rules::window_count(a, windows, d, x[d + 2], size[i]));
  }
  return y;
}

void check_gradient(const InferArguments& a, std::size_t input, const Shape& expected) {
  if (!rules::same_shape(a.shape(input), expected)) {
    rules::fail(a, "the gradient " + a.shape(input).str() + " does not have the shape of the result " + expected.str());
  }
}

std::vector<TensorType> infer_max_pool(const InferArguments& a) {
  const auto& attributes = a.as<MaxPoolAttributes>();
  rules::want_numeric(a);
  return {{a.dtype(0), pooled(a, a.shape(0), attributes.size, attributes.windows)}};
}

std::vector<TensorType> infer_max_pool_gradient(const InferArguments& a) {
  const auto& attributes = a.as<MaxPoolAttributes>();
  rules::want_floating(a);
  rules::same_dtypes(a);
  check_gradient(a, 1, pooled(a, a.shape(0), attributes.size, attributes.windows));
  return {a.inputs[0]};
}

std::vector<TensorType> infer_max_pool_select(const InferArguments& a) {
  const auto& attributes = a.as<MaxPoolAttributes>();
  rules::want_floating(a);
  rules::same_dtypes(a);
  if (!rules::same_shape(a.shape(0), a.shape(1)))
    rules::fail(a, "shapes differ: " + a.shape(0).str() + " and " + a.shape(1).str());
  return {{a.dtype(0), pooled(a, a.shape(0), attributes.size, attributes.windows)}};
}

std::vector<TensorType> infer_average_pool(const InferArguments& a) {
  const auto& attributes = a.as<AveragePoolAttributes>();
  rules::want_floating(a);
  return {{a.dtype(0), pooled(a, a.shape(0), attributes.size, attributes.windows)}};
}

std::vector<TensorType> infer_average_pool_gradient(const InferArguments& a) {
  const auto& attributes = a.as<AveragePoolGradientAttributes>();
  rules::want_floating(a);
  const Shape& dy = a.shape(0);
  if (dy.rank() != static_cast<int>(attributes.extents.size()) + 2) {
    rules::fail(a, "extents has " + std::to_string(attributes.extents.size()) + " entries for a gradient " + dy.str());
  }
  Shape dx{dy[0], dy[1]};
  for (const std::int64_t extent : attributes.extents) {
    if (extent < 0) rules::fail(a, "extents cannot be " + std::to_string(extent), "bind the shapes first");
    dx.append(extent);
  }
  check_gradient(a, 0, pooled(a, dx, attributes.size, attributes.windows));
  return {{a.dtype(0), dx}};
}

// The windows along one dimension of a tensor.
struct Line {
  int axis;
  std::int64_t extent, count;  // of the input, of the windows
  std::int64_t size, stride, low, high, dilation;
};

std::vector<Line> lines(const Shape& x, const Shape& y, const Ints& size, const Windows& windows) {
  std::vector<Line> all;
  for (int axis = x.rank() - 1; axis >= 2; --axis) {
    const auto d = static_cast<std::size_t>(axis - 2);
    all.push_back({axis, x[axis], y[axis], size[d], windows.strides[d], windows.pad_low[d], windows.pad_high[d],
                   windows.dilations[d]});
  }
  return all;
}

Ints at_axis(int rank, int axis, std::int64_t value, std::int64_t others = 0) {
  Ints list(static_cast<std::size_t>(rank), others);
  list[static_cast<std::size_t>(axis)] = value;
  return list;
}

Var slice_axis(Var x, int axis, std::int64_t start, std::int64_t end, std::int64_t stride = 1) {
  Ints ends(x.shape().begin(), x.shape().end());
  ends[static_cast<std::size_t>(axis)] = end;
  return slice(x, at_axis(x.rank(), axis, start), ends, at_axis(x.rank(), axis, stride, 1));
}

Var pad_axis(Var x, int axis, std::int64_t low, std::int64_t high, double value) {
  if (low == 0 && high == 0) return x;
  return pad(x, at_axis(x.rank(), axis, low), at_axis(x.rank(), axis, high), value);
}

// Position k of every window.
Var tap(Var padded, const Line& line, std::int64_t k) {
  const std::int64_t start = k * line.dilation;
  return slice_axis(padded, line.axis, start, start + (line.count - 1) * line.stride + 1, line.stride);
}

// Its transpose: `part` [..., count, ...] at position k of every window, zeros elsewhere, padding cut off.
Var untap(Var part, const Line& line, std::int64_t k) {
  const std::int64_t length = (line.count - 1) * line.stride + 1;
  PadAttributes spread;
  spread.low = spread.high = at_axis(part.rank(), line.axis, 0);
  spread.interior = at_axis(part.rank(), line.axis, line.stride - 1);
  part = emit("pad", {part}, std::make_shared<PadAttributes>(std::move(spread)));
  const std::int64_t first = k * line.dilation - line.low;  // where the part begins in the input
  const std::int64_t start = std::clamp<std::int64_t>(-first, 0, length);
  const std::int64_t end = std::clamp(line.extent - first, start, length);
  if (start == end) {
    Shape nothing = part.shape();
    nothing[line.axis] = line.extent;
    return full(*part.graph, part.dtype(), nothing, 0);
  }
  const std::int64_t low = std::max<std::int64_t>(first, 0);
  if (start > 0 || end < length) part = slice_axis(part, line.axis, start, end);
  return pad_axis(part, line.axis, low, line.extent - low - (end - start), 0);
}

constexpr double kLowest = -std::numeric_limits<double>::infinity();  // saturates to the lowest integer

Var line_max(Var x, const Line& line) {
  const Var padded = pad_axis(x, line.axis, line.low, line.high, kLowest);
  Var best = tap(padded, line, 0);
  for (std::int64_t k = 1; k < line.size; ++k) best = maximum(best, tap(padded, line, k));
  return best;
}

Var line_sum(Var x, const Line& line) {
  const Var padded = pad_axis(x, line.axis, line.low, line.high, 0);
  Var sum = tap(padded, line, 0);
  for (std::int64_t k = 1; k < line.size; ++k) sum = add(sum, tap(padded, line, k));
  return sum;
}

// For each position k of the windows: whether it holds the window's maximum `best`. Padding never does.
class Hits {
 public:
  Hits(Var x, Var best, const Line& line)
      : line_(line), padded_(pad_axis(x, line.axis, line.low, line.high, kLowest)), best_(best) {
    if (line.low == 0 && line.high == 0) return;
    Shape along;  // 1 but for the axis
    for (int axis = 0; axis < x.rank(); ++axis) along.append(axis == line.axis ? padded_.shape()[axis] : 1);
    const Var position = iota(*x.graph, DType::i64, along, line.axis);
    inside_ = logical_and(ge(position, static_cast<double>(line.low)),
                          lt(position, static_cast<double>(line.low + line.extent)));
  }
  Var at(std::int64_t k) const {
    const Var x = tap(padded_, line_, k);
    const Var hit = logical_or(eq(x, best_), is_nan(x));
    return inside_ ? logical_and(hit, tap(inside_, line_, k)) : hit;
  }

 private:
  const Line& line_;
  Var padded_, best_, inside_;
};

std::vector<Var> decompose_max_pool(Args a) {
  const auto& attributes = a.as<MaxPoolAttributes>();
  Var y = a.inputs[0];
  const TensorType type = infer(find_op("max_pool"), std::vector<TensorType>{y.type()}, attributes).front();
  for (const Line& line : lines(y.shape(), type.shape, attributes.size, attributes.windows)) y = line_max(y, line);
  return {y};
}

std::vector<Var> decompose_max_pool_gradient(Args a) {
  const auto& attributes = a.as<MaxPoolAttributes>();
  const Var x = a.inputs[0];
  Var d = a.inputs[1];
  const std::vector<Line> all = lines(x.shape(), d.shape(), attributes.size, attributes.windows);
  std::vector<Var> maxima{x};
  for (const Line& line : all) maxima.push_back(line_max(maxima.back(), line));
  for (std::size_t i = all.size(); i-- > 0;) {
    const Hits hits(maxima[i], maxima[i + 1], all[i]);
    const Var zero = scalar(a.graph, x.dtype(), 0);
    Var sum, taken;
    for (std::int64_t k = 0; k < all[i].size; ++k) {
      Var hit = hits.at(k);
      if (taken) hit = logical_and(hit, logical_not(taken));
      taken = taken ? logical_or(taken, hit) : hit;
      const Var part = untap(select(hit, d, zero), all[i], k);
      sum = sum ? add(sum, part) : part;
    }
    d = sum;
  }
  return {d};
}

std::vector<Var> decompose_max_pool_select(Args a) {
  const auto& attributes = a.as<MaxPoolAttributes>();
  Var x = a.inputs[0], values = a.inputs[1];
  const TensorType type = infer(find_op("max_pool"), std::vector<TensorType>{x.type()}, attributes).front();
  for (const Line& line : lines(x.shape(), type.shape, attributes.size, attributes.windows)) {
    const Var best = line_max(x, line);
    const Hits hits(x, best, line);
    const Var padded = pad_axis(values, line.axis, line.low, line.high, 0);
    Var chosen = scalar(a.graph, values.dtype(), 0);
    for (std::int64_t k = line.size; k-- > 0;) chosen = select(hits.at(k), tap(padded, line, k), chosen);
    x = best;
    values = chosen;
  }
  return {values};
}

// x divided by how many positions each window counts.
template <class PoolAttributes>
Var divide_by_counts(Var x, const PoolAttributes& attributes, const std::vector<Line>& all) {
  if (attributes.count_padding) {
    double positions = 1;
    for (const Line& line : all) positions *= static_cast<double>(line.size);
    return x / positions;
  }
  for (const Line& line : all) {
    std::vector<double> counts;
    for (std::int64_t i = 0; i < line.count; ++i) {
      double inside = 0;
      for (std::int64_t k = 0; k < line.size; ++k) {
        const std::int64_t at = i * line.stride - line.low + k * line.dilation;
        if (at >= 0 && at < line.extent) ++inside;
      }
      counts.push_back(std::max(inside, 1.0));
    }
    if (std::ranges::adjacent_find(counts, std::not_equal_to<>()) == counts.end()) {
      x = x / counts.front();
      continue;
    }
    Shape along;
    for (int axis = 0; axis < x.rank(); ++axis) along.append(axis == line.axis ? line.count : 1);
    x = x / cast(constant(*x.graph, make_constant(DType::f64, along, std::as_bytes(std::span(counts)))), x.dtype());
  }
  return x;
}

std::vector<Var> decompose_average_pool(Args a) {
  const auto& attributes = a.as<AveragePoolAttributes>();
  const Var x = a.inputs[0];
  const TensorType type = infer(find_op("average_pool"), std::vector<TensorType>{x.type()}, attributes).front();
  const std::vector<Line> all = lines(x.shape(), type.shape, attributes.size, attributes.windows);
  Var sum = cast(x, dtype_info(x.dtype()).compute);
  for (const Line& line : all) sum = line_sum(sum, line);
  return {cast(divide_by_counts(sum, attributes, all), x.dtype())};
}

std::vector<Var> decompose_average_pool_gradient(Args a) {
  const auto& attributes = a.as<AveragePoolGradientAttributes>();
  const Var dy = a.inputs[0];
  Shape x{dy.shape()[0], dy.shape()[1]};
  for (const std::int64_t extent : attributes.extents) x.append(extent);
  const std::vector<Line> all = lines(x, dy.shape(), attributes.size, attributes.windows);
  Var d = divide_by_counts(cast(dy, dtype_info(dy.dtype()).compute), attributes, all);
  for (std::size_t i = all.size(); i-- > 0;) {
    Var sum = untap(d, all[i], 0);
    for (std::int64_t k = 1; k < all[i].size; ++k) sum = add(sum, untap(d, all[i], k));
    d = sum;
  }
  return {cast(d, dy.dtype())};
}

double window_positions(const Ints& size) {
  double positions = 1;
  for (const std::int64_t extent : size) positions *= static_cast<double>(extent);
  return positions;
}
template <class PoolAttributes, bool gradient>
double pool_flops(const InferArguments& a, std::span<const TensorType> outputs) {
  const Shape& windows = gradient ? a.inputs.back().shape : outputs[0].shape;
  return window_positions(a.as<PoolAttributes>().size) * static_cast<double>(windows.elements());
}

const Op kOps[] = {
    {.name = "max_pool",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_max_pool,
     .gradient = gradient_by([](Args a) -> std::vector<Var> {
       const auto& attributes = a.as<MaxPoolAttributes>();
       return {max_pool_gradient(a.inputs[0], a.cotangents[0], attributes.size, attributes.windows)};
     }),
     .make_attributes = attributes_of<MaxPoolAttributes>,
     .decompose = decompose_max_pool,
     .flops = pool_flops<MaxPoolAttributes, false>},
    {.name = "max_pool_gradient",
     .kind = OpKind::composite,
     .min_inputs = 2,
     .max_inputs = 2,
     .infer = infer_max_pool_gradient,
     .gradient = gradient_by([](Args a) -> std::vector<Var> {
       const auto& attributes = a.as<MaxPoolAttributes>();
       return {Var{}, max_pool_select(a.inputs[0], a.cotangents[0], attributes.size, attributes.windows)};
     }),
     .make_attributes = attributes_of<MaxPoolAttributes>,
     .decompose = decompose_max_pool_gradient,
     .flops = pool_flops<MaxPoolAttributes, true>},
    {.name = "max_pool_select",
     .kind = OpKind::composite,
     .min_inputs = 2,
     .max_inputs = 2,
     .infer = infer_max_pool_select,
     .gradient = gradient_by([](Args a) -> std::vector<Var> {
       const auto& attributes = a.as<MaxPoolAttributes>();
       return {Var{}, max_pool_gradient(a.inputs[0], a.cotangents[0], attributes.size, attributes.windows)};
     }),
     .make_attributes = attributes_of<MaxPoolAttributes>,
     .decompose = decompose_max_pool_select,
     .flops = pool_flops<MaxPoolAttributes, false>},
    {.name = "average_pool",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_average_pool,
     .gradient = gradient_by([](Args a) -> std::vector<Var> {
       const auto& attributes = a.as<AveragePoolAttributes>();
       const std::span<const std::int64_t> extents = a.inputs[0].shape().dims().subspan(2);
       return {average_pool_gradient(a.cotangents[0], attributes.size, attributes.windows, attributes.count_padding,
                                     {extents.begin(), extents.end()})};
     }),
     .make_attributes = attributes_of<AveragePoolAttributes>,
     .decompose = decompose_average_pool,
     .flops = pool_flops<AveragePoolAttributes, false>},
    {.name = "average_pool_gradient",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_average_pool_gradient,
     .gradient = gradient_by([](Args a) -> std::vector<Var> {
       const auto& attributes = a.as<AveragePoolGradientAttributes>();
       return {average_pool(a.cotangents[0], attributes.size, attributes.windows, attributes.count_padding)};
     }),
     .make_attributes = attributes_of<AveragePoolGradientAttributes>,
     .decompose = decompose_average_pool_gradient,
     .flops = pool_flops<AveragePoolGradientAttributes, true>},
};

AttributesPtr max_pool_attributes(Ints size, Windows windows) {
  auto attributes = std::make_shared<MaxPoolAttributes>();
  attributes->size = std::move(size);
  attributes->windows = std::move(windows);
  return attributes;
}

}  // namespace

std::span<const Op> pooling_ops() { return kOps; }

Var max_pool(Var x, Ints size, Windows windows) {
  return emit("max_pool", {x}, max_pool_attributes(std::move(size), std::move(windows)));
}

Var max_pool_gradient(Var x, Var dy, Ints size, Windows windows) {
  return emit("max_pool_gradient", {x, dy}, max_pool_attributes(std::move(size), std::move(windows)));
}

Var max_pool_select(Var x, Var values, Ints size, Windows windows) {
  return emit("max_pool_select", {x, values}, max_pool_attributes(std::move(size), std::move(windows)));
}

Var average_pool(Var x, Ints size, Windows windows, bool count_padding) {
  auto attributes = std::make_shared<AveragePoolAttributes>();
  attributes->size = std::move(size);
  attributes->windows = std::move(windows);
  attributes->count_padding = count_padding;
  return emit("average_pool", {x}, std::move(attributes));
}

Var average_pool_gradient(Var dy, Ints size, Windows windows, bool count_padding, Ints extents) {
  auto attributes = std::make_shared<AveragePoolGradientAttributes>();
  attributes->size = std::move(size);
  attributes->windows = std::move(windows);
  attributes->count_padding = count_padding;
  attributes->extents = std::move(extents);
  return emit("average_pool_gradient", {dy}, std::move(attributes));
}

}  // namespace ml
