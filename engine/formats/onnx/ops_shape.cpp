// Operators that move elements and compute shapes. Extents may be unknown: then the shape is computed in the graph,
// from shape_of.
#include <algorithm>
#include <limits>
#include <numeric>

#include "engine/formats/onnx/axes.h"
#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_dynamic.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// Axes are an attribute before operator set 13 and an input since.
Axes axes_of(Node n, int rank) {
  if (n.version() < 13) return {n, vector_of(n.graph, n.ints("axes")), rank};
  return {n, n.in(1), rank};
}

Results squeeze_operator(Node n) {
  const Var x = n.in(0);
  if (n.version() < 13 ? !n.has_attribute("axes") : !n.has(1)) {
    Ints ones;
    for (int i = 0; i < x.rank(); ++i) {
      if (x.shape()[i] == kUnknown) n.undecided("which axes have one element decides the rank, and is not known");
      if (x.shape()[i] == 1) ones.push_back(i);
    }
    return {ones.empty() ? x : squeeze(x, ones)};
  }
  const Axes axes = axes_of(n, x.rank());
  if (axes.known()) return {axes.values().empty() ? x : squeeze(x, axes.values())};
  if (axes.count() == kUnknown) n.unsupported("Squeeze of a number of axes that is not known");
  const Var kept_first = sort(cast(axes.flags(n.graph), DType::i64), 0).second;
  return {reshape_to(x, gather(shape_of(x), slice(kept_first, {0}, {x.rank() - axes.count()}), 0), true)};
}

Results unsqueeze_operator(Node n) {
  const Var x = n.in(0);
  const std::int64_t count = n.version() < 13 ? static_cast<std::int64_t>(n.ints("axes").size())
                                              : (n.in(1).rank() == 1 ? n.in(1).shape()[0] : 1);
  if (count == kUnknown) n.unsupported("Unsqueeze of a number of axes that is not known");
  if (count > kMaxRank - x.rank())
    n.invalid(std::to_string(count) + " new axes of " + x.shape().str() + ", a tensor has at most 8");
  const Axes axes = axes_of(n, x.rank() + static_cast<int>(count));
  if (axes.known()) return {unsqueeze(x, axes.values())};
  // The extents of x in the places that are not new.
  const Var is_new = axes.flags(n.graph);
  const Var before = cumsum(cast(logical_not(is_new), DType::i64), 0, true);
  const Var padded = concat(std::vector<Var>{shape_of(x), vector_of(n.graph, Ints{1})}, 0);
  return {reshape_to(x, select(is_new, number_of(n.graph, 1), gather(padded, before, 0)), true)};
}

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

// Sizes are an attribute before operator set 13 and an input since; without any the parts are equal, but for a smaller
// last one.
Results split(Node n) {
  const Var x = n.in(0);
  const int axis = normalize_axis(n.integer("axis", 0), x.rank(), "axis");
  const auto outputs = static_cast<std::int64_t>(n.output_count());
  Var sizes;
  if (n.version() < 13 && n.has_attribute("split")) sizes = vector_of(n.graph, n.ints("split"));
  if ((n.version() == 1 || n.version() >= 13) && n.has(1)) sizes = cast(n.in(1), DType::i64);
  const Var extent = extent_of(x, axis);
  if (!sizes) {
    const std::int64_t count = n.integer("num_outputs", outputs);
    if (count <= 0 || count > outputs)
      n.invalid("num_outputs is " + std::to_string(count) + ", the node has " + std::to_string(outputs) + " outputs");
    const auto parts = static_cast<double>(count);
    const Var part = (extent + (parts - 1)) / parts;
    const Var at = iota(n.graph, DType::i64, Shape{count}, 0) * part;
    sizes = maximum(minimum(extent - at, part), 0.0);
  }
  sizes = n.settled(sizes);
  if (sizes.rank() != 1 || (sizes.shape()[0] != kUnknown && sizes.shape()[0] < outputs))
    n.invalid("sizes " + sizes.shape().str() + " of " + std::to_string(outputs) + " parts");
  if (const ConstantData* const constant = n.graph.constant(sizes.id)) {
    std::int64_t total = 0;
    for (std::int64_t i = 0; i < constant->shape.elements(); ++i) {
      const std::int64_t size = element_as_int(*constant, i);
      if (size < 0 || __builtin_add_overflow(total, size, &total)) n.invalid("a part of " + std::to_string(size));
    }
    const std::int64_t whole = x.shape()[axis];
    if (whole != kUnknown && total != whole)
      n.invalid("its parts add up to " + std::to_string(total) + ", the axis has " + std::to_string(whole));
  }
  const Var ends = cumsum(sizes, 0);
  const Var starts = ends - sizes;
  Results results;
  for (std::int64_t i = 0; i < outputs; ++i)
    results.push_back(part_of(n, x, axis, element(n, starts, i), element(n, ends, i)));
  return results;
}

// A slice of every axis, from what is given for the named ones: what is summed up below is one number or none.
Results slice_computed_axes(Node n, const Axes& axes, Var starts, Var ends, Var steps) {
  const Var x = n.in(0);
  const Var named = eq(unsqueeze(axes.vector(n.graph), {1}), iota(n.graph, DType::i64, Shape{x.rank()}, 0));
  const Var any = axes.flags(n.graph);
  const auto spread = [&](Var given, double otherwise) {
    const Var zero = scalar(n.graph, DType::i64, 0), rest = scalar(n.graph, DType::i64, otherwise);
    return select(any, reduce_sum(select(named, unsqueeze(given, {1}), zero), {0}), rest);
  };
  Ints all(static_cast<std::size_t>(x.rank()));
  std::iota(all.begin(), all.end(), 0);
  return {slice_by(x, spread(starts, 0), spread(ends, 0x1p63), spread(steps, 1), all)};
}

// Starts, ends and axes are attributes before operator set 10 and inputs since.
Results slice_operator(Node n) {
  const Var x = n.in(0);
  const bool attributes = n.version() < 10;
  const Var starts = attributes ? vector_of(n.graph, n.ints("starts")) : cast(n.in(1), DType::i64);
  const Var ends = attributes ? vector_of(n.graph, n.ints("ends")) : cast(n.in(2), DType::i64);
  const std::int64_t count = starts.rank() == 1 ? starts.shape()[0] : kUnknown;
  const Var ones = expand_to(number_of(n.graph, 1), shape_of(starts));
  const Var steps = n.has(4) ? cast(n.in(4), DType::i64) : n.settled(ones);
  Ints named = n.ints("axes");
  if (!n.has(3) && named.empty()) {
    if (count == kUnknown) n.unsupported("Slice of a number of axes that is not known");
    named.resize(static_cast<std::size_t>(std::min<std::int64_t>(count, kMaxRank + 1)));
    std::iota(named.begin(), named.end(), 0);
  }
  const Axes axes(n, n.has(3) ? n.in(3) : vector_of(n.graph, named), x.rank());
  if (!axes.known()) return slice_computed_axes(n, axes, starts, ends, steps);
  return {slice_by(x, starts, ends, steps, axes.values())};
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

// Every element in front of its axis is repeated with what is behind it, the last axis first.
Var tile_computed(Node n, Var repeats) {
  Var x = n.in(0);
  const std::vector<Var> extents = extents_of(x);
  std::vector<Var> result;
  Var inner = number_of(n.graph, 1);
  for (int axis = x.rank() - 1; axis >= 0; --axis) {
    const auto at = static_cast<std::size_t>(axis);
    const Var count = element(n, repeats, axis), outer = product(n.graph, std::span(extents).first(at));
    inner = inner * extents[at];
    x = reshape_to(x, vector_of(std::vector<Var>{outer, number_of(n.graph, 1), inner}), true);
    x = expand_to(x, vector_of(std::vector<Var>{outer, count, inner}));
    inner = inner * count;
    result.insert(result.begin(), extents[at] * count);
  }
  return result.empty() ? x : reshape_to(x, vector_of(result), true);
}

// Before operator set 6 one axis was repeated: inputs 1 and 2 say how often, and which.
Results tile(Node n) {
  Var x = n.in(0);
  Var given = cast(n.in(1), DType::i64);
  if (n.version() < 6) {
    const Var chosen = eq(iota(n.graph, DType::i64, Shape{x.rank()}, 0), number_input(n, 2));
    given = n.settled(select(chosen, number_input(n, 1), number_of(n.graph, 1)));
  }
  if (given.rank() != 1 || (given.shape()[0] != kUnknown && given.shape()[0] != x.rank()))
    n.invalid("repeats " + given.shape().str() + " of " + x.shape().str() + ", one per axis is needed");
  for (int axis = 0; axis < x.rank(); ++axis) {
    const std::optional<std::int64_t> count = known_integer(element(n, given, axis));
    if (!count) return {tile_computed(n, given)};
    if (*count < 0) n.invalid("a repeat of " + std::to_string(*count));
    if (*count == 0)
      x = slice_by(x, vector_of(n.graph, Ints{0}), vector_of(n.graph, Ints{0}), vector_of(n.graph, Ints{1}), {axis});
    else
      x = repeat(x, *count, axis);
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
  for (const char* name : {"value", "sparse_value"}) {
    if (ConstantPtr value = n.tensor(name)) return {constant(n.graph, std::move(value))};
  }
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
  n.unsupported("a Constant of strings");
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
    {"DepthToSpace", 1, kAny, depth_to_space},
    {"Expand", 8, kAny, expand},
    {"Flatten", 1, kAny, flatten},
    {"Reshape", 5, kAny, reshape_operator},
    {"Shape", 1, kAny, shape_operator},
    {"Size", 1, kAny, size},
    {"Slice", 1, kAny, slice_operator},
    {"SpaceToDepth", 1, kAny, space_to_depth},
    {"Split", 2, kAny, split},
    {"Squeeze", 1, kAny, squeeze_operator},
    {"Tile", 1, kAny, tile},
    {"Transpose", 1, kAny, transpose_operator},
    {"Unsqueeze", 1, kAny, unsqueeze_operator},
};

}  // namespace

std::span<const Operator> shape_operators() { return kOperators; }

}  // namespace ml::onnx
