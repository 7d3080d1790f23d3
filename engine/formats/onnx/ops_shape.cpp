// Operators that move elements and compute shapes. Extents may be unknown: then the shape is computed in the graph,
// from shape_of.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_dynamic.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// Axes are an attribute before operator set 13 and an input since.
Ints axes_of(Node n) { return n.version() < 13 ? n.ints("axes") : (n.has(1) ? n.ints_input(1) : Ints{}); }

Results squeeze_operator(Node n) {
  const Var x = n.in(0);
  Ints axes = axes_of(n);
  for (int i = 0; axes.empty() && i < x.rank(); ++i) {
    if (x.shape()[i] == kUnknown) n.unsupported("Squeeze of every axis of a shape that is not known");
  }
  if (axes.empty()) {
    for (int i = 0; i < x.rank(); ++i) {
      if (x.shape()[i] == 1) axes.push_back(i);
    }
  }
  return {axes.empty() ? x : squeeze(x, axes)};
}

Results unsqueeze_operator(Node n) { return {unsqueeze(n.in(0), axes_of(n))}; }

Results reshape_operator(Node n) {
  return {reshape_to(n.in(0), cast(n.in(1), DType::i64), n.integer("allowzero", 0) != 0)};
}

// [d0 * ... * d(axis-1), the rest].
Results flatten(Node n) {
  const Var x = n.in(0);
  std::int64_t axis = n.integer("axis", 1);
  if (axis < -x.rank() || axis > x.rank())
    n.invalid("axis " + std::to_string(axis) + " is outside of " + x.shape().str());
  if (axis < 0) axis += x.rank();
  if (axis == 0) return {reshape_to(x, vector_of(n.graph, {1, -1}))};
  if (axis == 1) {
    std::int64_t rest = 1;
    for (int i = 1; i < x.rank(); ++i)
      rest = rest == kUnknown || x.shape()[i] == kUnknown ? kUnknown : rest * x.shape()[i];
    // The first extent is kept, not inferred, so that an empty batch stays one.
    return {reshape_to(x, vector_of(n.graph, {0, rest}))};
  }
  const Var extents = shape_of(x);
  const Var outer = reduce_prod(slice(extents, {0}, {axis}), {0}, true);
  const Var inner = reduce_prod(slice(extents, {axis}, {x.rank()}), {0}, true);
  return {reshape_to(x, concat(std::vector<Var>{outer, inner}, 0), true)};
}

Results transpose_operator(Node n) {
  Ints order = n.ints("perm");
  if (order.empty()) {
    order.resize(static_cast<std::size_t>(n.in(0).rank()));
    std::iota(order.rbegin(), order.rend(), 0);
  }
  return {transpose(n.in(0), order)};
}

Results expand(Node n) { return {expand_to(n.in(0), cast(n.in(1), DType::i64))}; }

Results concat_operator(Node n) {
  std::vector<Var> parts;
  for (std::size_t i = 0; i < n.input_count(); ++i) parts.push_back(n.in(i));
  return {concat(parts, n.integer("axis", 1))};
}

Results split(Node n) {
  const Var x = n.in(0);
  const int axis = normalize_axis(n.integer("axis", 0), x.rank(), "axis");
  const std::int64_t extent = x.shape()[axis];
  Ints sizes = n.version() < 13 ? n.ints("split") : (n.has(1) ? n.ints_input(1) : Ints{});
  if (sizes.empty()) {
    if (extent == kUnknown) n.unsupported("Split of an axis of unknown size into equal parts");
    const auto count = n.integer("num_outputs", static_cast<std::int64_t>(n.output_count()));
    if (count <= 0 || count > static_cast<std::int64_t>(n.output_count())) {
      n.invalid("num_outputs is " + std::to_string(count) + ", the node has " + std::to_string(n.output_count()) +
                " outputs");
    }
    const std::int64_t part = (extent + count - 1) / count;
    for (std::int64_t at = 0; static_cast<std::int64_t>(sizes.size()) < count; at += part)
      sizes.push_back(std::clamp<std::int64_t>(extent - at, 0, part));
  }
  std::int64_t total = 0;
  for (const std::int64_t size : sizes) {
    if (size < 0 || __builtin_add_overflow(total, size, &total)) n.invalid("a part of " + std::to_string(size));
  }
  if (extent != kUnknown && total != extent) {
    n.invalid("its parts add up to " + std::to_string(total) + ", the axis has " + std::to_string(extent));
  }
  Results results;
  std::int64_t at = 0;
  for (const std::int64_t size : sizes) {
    results.push_back(
        slice_by(x, vector_of(n.graph, {at}), vector_of(n.graph, {at + size}), vector_of(n.graph, {1}), {axis}));
    at += size;
  }
  return results;
}

// Starts, ends and axes are attributes before operator set 10 and inputs since.
Results slice_operator(Node n) {
  const Var x = n.in(0);
  const bool attributes = n.version() < 10;
  const Var starts = attributes ? vector_of(n.graph, n.ints("starts")) : cast(n.in(1), DType::i64);
  const Var ends = attributes ? vector_of(n.graph, n.ints("ends")) : cast(n.in(2), DType::i64);
  const std::int64_t count = starts.rank() == 1 ? starts.shape()[0] : kUnknown;
  if (count == kUnknown) n.unsupported("Slice with an unknown number of axes");
  Ints axes = attributes ? n.ints("axes") : (n.has(3) ? n.ints_input(3) : Ints{});
  if (axes.empty()) {
    axes.resize(static_cast<std::size_t>(count));
    std::iota(axes.begin(), axes.end(), 0);
  }
  for (std::int64_t& axis : axes) axis = normalize_axis(axis, x.rank(), "axis");
  const Var steps = n.has(4) ? cast(n.in(4), DType::i64) : vector_of(n.graph, Ints(axes.size(), 1));
  return {slice_by(x, starts, ends, steps, axes)};
}

// `count` copies of x behind each other. Many are copies of copies, so that a count is never a number of inputs.
Var repeat(Var x, std::int64_t count, int axis) {
  constexpr std::int64_t kAtOnce = 64;
  if (count == 1) return x;
  if (count <= kAtOnce) return concat(std::vector<Var>(static_cast<std::size_t>(count), x), axis);
  const Var most = repeat(repeat(x, kAtOnce, axis), count / kAtOnce, axis);
  if (count % kAtOnce == 0) return most;
  return concat(std::vector<Var>{most, repeat(x, count % kAtOnce, axis)}, axis);
}

Results tile(Node n) {
  Var x = n.in(0);
  const Ints repeats = n.ints_input(1);
  if (static_cast<int>(repeats.size()) != x.rank()) n.invalid("one repeat per axis is needed");
  for (int axis = 0; axis < x.rank(); ++axis) {
    const std::int64_t count = repeats[static_cast<std::size_t>(axis)];
    if (count < 0) n.invalid("a repeat of " + std::to_string(count));
    if (count == 0)
      x = slice_by(x, vector_of(n.graph, {0}), vector_of(n.graph, {0}), vector_of(n.graph, {1}), {axis});
    else
      x = repeat(x, count, axis);
  }
  return {x};
}

Results shape_operator(Node n) {
  const Var extents = shape_of(n.in(0));
  const std::int64_t rank = n.in(0).rank();
  const auto place = [rank](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? i + rank : i, 0, rank); };
  const std::int64_t start = place(n.integer("start", 0)), end = place(n.integer("end", rank));
  if (start == 0 && end == rank) return {extents};
  return {slice(extents, {start}, {std::max(start, end)})};
}

Results size(Node n) { return {reduce_prod(shape_of(n.in(0)))}; }

Results constant_operator(Node n) {
  if (ConstantPtr value = n.tensor("value")) return {constant(n.graph, std::move(value))};
  if (n.has_attribute("value_int")) {
    const std::int64_t value = n.integer("value_int", 0);
    return {constant(n.graph, make_constant(DType::i64, {}, std::as_bytes(std::span(&value, 1))))};
  }
  if (n.has_attribute("value_float")) return {scalar(n.graph, DType::f32, n.number("value_float", 0))};
  if (n.has_attribute("value_ints")) return {vector_of(n.graph, n.ints("value_ints"))};
  if (n.has_attribute("value_floats")) {
    const std::vector<float> values = n.numbers("value_floats");
    return {constant(n.graph, make_constant(DType::f32, Shape{static_cast<std::int64_t>(values.size())},
                                            std::as_bytes(std::span(values))))};
  }
  n.unsupported("a Constant of strings or of a sparse tensor");
}

Results constant_of_shape(Node n) {
  const ConstantPtr value = n.tensor("value");
  const Var element = value ? reshape(constant(n.graph, value), {}) : scalar(n.graph, DType::f32, 0);
  return {expand_to(element, n.in(0))};
}

// Limits are constants; the number of elements is max(0, ceil((limit - start) / delta)).
Results range(Node n) {
  const DType dtype = n.in(0).dtype();
  const double start = n.number_input(0, 0), limit = n.number_input(1, 0), delta = n.number_input(2, 1);
  if (delta == 0) n.invalid("a step of 0");
  const double count = std::max(0.0, std::ceil((limit - start) / delta));
  if (!(count < 0x1p40)) n.invalid("a range of " + std::to_string(count) + " elements");
  const Var steps = iota(n.graph, dtype, Shape{static_cast<std::int64_t>(count)}, 0);
  return {steps * delta + start};
}

Results trilu(Node n) {
  const Var x = n.in(0);
  const auto offset = static_cast<std::int64_t>(n.number_input(1, 0));
  const std::int64_t rows = x.shape().at(-2), columns = x.shape().at(-1);
  if (rows == kUnknown || columns == kUnknown) n.unsupported("Trilu of a matrix of unknown size");
  const Var row = iota(n.graph, DType::i64, Shape{rows, columns}, 0) + static_cast<double>(offset);
  const Var column = iota(n.graph, DType::i64, Shape{rows, columns}, 1);
  const Var kept = n.integer("upper", 1) != 0 ? ge(column, row) : le(column, row);
  return {select(kept, x, scalar(n.graph, x.dtype(), 0))};
}

Results eye_like(Node n) {
  const Var x = n.in(0);
  if (x.rank() != 2 || !x.shape().known()) n.unsupported("EyeLike of anything but a matrix of known size");
  const auto offset = static_cast<double>(n.integer("k", 0));
  const DType dtype = n.dtype("dtype", x.dtype());
  return {cast(eq(iota(n.graph, DType::i64, x.shape(), 1), iota(n.graph, DType::i64, x.shape(), 0) + offset), dtype)};
}

constexpr std::int64_t kLargestBlock = 1 << 20;  // its square is still a number

// The block's size, which divides the extents of x [N, C, H, W] that it splits, as far as they are known.
std::int64_t block_of(Node n, bool channels) {
  const Shape& s = n.in(0).shape();
  const std::int64_t b = n.integer("blocksize", 1);
  const auto divides = [](std::int64_t by, std::int64_t extent) { return extent == kUnknown || extent % by == 0; };
  if (s.rank() != 4) n.invalid("blocks of " + s.str() + ", which is not [N, C, H, W]");
  if (b < 1 || b > kLargestBlock || (channels ? !divides(b * b, s[1]) : !divides(b, s[2]) || !divides(b, s[3])))
    n.invalid("blocksize " + std::to_string(b) + " does not divide " + s.str());
  return b;
}

std::int64_t divided(std::int64_t extent, std::int64_t by) { return extent == kUnknown ? kUnknown : extent / by; }

// One dimension is split or joined at a time, so that each reshape has one extent to infer.
Results depth_to_space(Node n) {
  const Var x = n.in(0);
  const std::int64_t b = block_of(n, true), c = divided(x.shape()[1], b * b);
  const auto keep = [](Var of, int i) { return kept(of.shape()[i], i); };
  const bool column_row = n.text("mode", "DCR") == "CRD";
  const Var parts = column_row ? reshaped(x, {keep(x, 0), c, b, b, keep(x, 2), keep(x, 3)})
                               : reshaped(x, {keep(x, 0), b, b, c, keep(x, 2), keep(x, 3)});
  const Var moved = column_row ? transpose(parts, {0, 1, 4, 2, 5, 3}) : transpose(parts, {0, 3, 4, 1, 5, 2});
  const Var rows = reshaped(moved, {keep(moved, 0), keep(moved, 1), kUnknown, keep(moved, 4), b});
  return {reshaped(rows, {keep(rows, 0), keep(rows, 1), keep(rows, 2), kUnknown})};
}

Results space_to_depth(Node n) {
  const Var x = n.in(0);
  const std::int64_t b = block_of(n, false);
  const auto keep = [](Var of, int i) { return kept(of.shape()[i], i); };
  const Var rows = reshaped(x, {keep(x, 0), keep(x, 1), divided(x.shape()[2], b), b, keep(x, 3)});
  const Var parts = reshaped(rows, {keep(rows, 0), keep(rows, 1), keep(rows, 2), b, divided(x.shape()[3], b), b});
  const Var moved = transpose(parts, {0, 3, 5, 1, 2, 4});  // [N, b, b, C, H, W]
  return {reshaped(moved, {keep(moved, 0), kUnknown, keep(moved, 4), keep(moved, 5)})};
}

constexpr Operator kOperators[] = {
    {"Concat", 4, kAny, concat_operator},
    {"Constant", 1, kAny, constant_operator},
    {"ConstantOfShape", 9, kAny, constant_of_shape},
    {"DepthToSpace", 1, kAny, depth_to_space},
    {"Expand", 8, kAny, expand},
    {"EyeLike", 9, kAny, eye_like},
    {"Flatten", 1, kAny, flatten},
    {"Range", 11, kAny, range},
    {"Reshape", 5, kAny, reshape_operator},
    {"Shape", 1, kAny, shape_operator},
    {"Size", 1, kAny, size},
    {"Slice", 1, kAny, slice_operator},
    {"SpaceToDepth", 1, kAny, space_to_depth},
    {"Split", 2, kAny, split},
    {"Squeeze", 1, kAny, squeeze_operator},
    {"Tile", 6, kAny, tile},
    {"Transpose", 1, kAny, transpose_operator},
    {"Trilu", 14, kAny, trilu},
    {"Unsqueeze", 1, kAny, unsqueeze_operator},
};

}  // namespace

std::span<const Operator> shape_operators() { return kOperators; }

}  // namespace ml::onnx
