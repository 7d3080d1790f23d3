// Resize and Upsample. Interpolation is separable: one axis after the other is gathered by the indices of its taps and
// summed with their weights. Both are vectors over the axis that follow from its two extents, constants where those
// are.
#include <algorithm>

#include "engine/formats/onnx/sampling.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// How an operator set says what a Resize does; the defaults are those of operator set 11.
struct Resizing {
  std::string mode = "nearest", coordinates = "half_pixel", nearest = "round_prefer_floor";
  double cubic = -0.75, extrapolated = 0;
  bool exclude_outside = false, antialias = false;
};

// One axis; f64[] but for `count`, which is i64[].
struct Line {
  int axis;
  Var in, count, out;  // extents; `out` is the product of `in` and `scale`, of which `count` is the whole part
  Var scale;
  Var from, to;  // the region of interest, as parts of the extent
};

Var real(Var number) { return cast(number, DType::f64); }
Var whole(Var number) { return cast(number, DType::i64); }

// Where the positions of the result lie in x, in f64.
Var places(Node n, const Resizing& how, const Line& line) {
  const Var at = count_up(n, line.count, DType::f64);
  const Var last = line.in - 1.0, only = eq(line.out, 1.0), zero = scalar(n.graph, DType::f64, 0);
  const Var centre = (at + 0.5) / line.scale - 0.5;
  if (how.coordinates == "half_pixel") return centre;
  if (how.coordinates == "asymmetric") return at / line.scale;
  if (how.coordinates == "align_corners") return select(only, zero, at * last / (line.out - 1.0));
  if (how.coordinates == "pytorch_half_pixel") return select(only, zero, centre);
  if (how.coordinates == "half_pixel_symmetric") return centre + line.in * 0.5 * (1.0 - real(line.count) / line.out);
  if (how.coordinates == "tf_half_pixel_for_nn" && n.version() < 13) return (at + 0.5) / line.scale;
  if (how.coordinates == "tf_crop_and_resize") {
    const Var spread = at * (line.to - line.from) / (line.out - 1.0);
    return last * select(only, (line.from + line.to) * 0.5, line.from + spread);
  }
  n.invalid("coordinate_transformation_mode '" + how.coordinates + "'");
}

Var nearest_index(Node n, const Resizing& how, const Line& line, Var at) {
  if (how.nearest == "round_prefer_floor") return ceil(at - 0.5);
  if (how.nearest == "round_prefer_ceil") return floor(at + 0.5);
  if (how.nearest == "floor") return floor(at);
  if (how.nearest == "ceil") return ceil(at);
  if (how.nearest == "simple") return select(lt(line.scale, 1.0), ceil(at), floor(at));  // before operator set 11
  n.invalid("nearest_mode '" + how.nearest + "'");
}

Var weight_at(const Resizing& how, Var distance) {
  return how.mode == "linear" ? tent_filter(distance) : cubic_filter(distance, how.cubic);
}

// Indices (i64) and weights (f64) of every tap, [taps, count].
struct Taps {
  Var index, weight;
};
Taps taps_of(Node n, const Resizing& how, const Line& line, Var at) {
  const double reach = how.mode == "linear" ? 1 : 2;
  const Var base = floor(at), fraction = at - base;
  // Taps reach as far as the filter does, which is wider where it averages.
  Var shrink, first = scalar(n.graph, DType::f64, 1 - reach);
  if (how.antialias) {
    shrink = minimum(line.scale, 1.0);
    first = floor(-reach / shrink) + 1.0;
  }
  const Var offset = unsqueeze(count_up(n, n.settled(whole(2.0 - first * 2.0)), DType::f64) + first, {1});
  const Var distance = offset - fraction;
  const Var index = offset + base;
  Var weight = weight_at(how, how.antialias ? distance * shrink : distance);
  if (how.exclude_outside) {
    const Var inside = logical_and(ge(index, 0.0), lt(index, line.in));
    weight = select(inside, weight, scalar(n.graph, DType::f64, 0));
  }
  if (how.exclude_outside || how.antialias) {
    const Var sum = reduce_sum(weight, {0}, true);
    weight = weight / select(eq(sum, 0.0), scalar(n.graph, DType::f64, 1), sum);
  }
  return {n.settled(whole(maximum(minimum(index, line.in - 1.0), 0.0))), n.settled(weight)};
}

// `along`, whose last dimension lies over `axis` of x, with a dimension for each that x has behind it.
Var over(Var along, Var x, int axis) {
  Ints axes;
  for (int i = axis + 1; i < x.rank(); ++i) axes.push_back(along.rank() + i - axis - 1);
  return axes.empty() ? along : unsqueeze(along, axes);
}

Var resized(Node n, const Resizing& how, const Line& line, Var x) {
  constexpr std::int64_t kFew = 4;
  const Var at = n.settled(places(n, how, line));
  Var y;
  if (how.mode == "nearest") {
    const Var index = nearest_index(n, how, line, at);
    y = gather(x, n.settled(whole(maximum(minimum(index, line.in - 1.0), 0.0))), line.axis);
  } else {
    const auto [index, weight] = taps_of(n, how, line, at);
    const Var factor = cast(weight, x.dtype());
    const auto tap = [&](Var taps, std::int64_t k) {
      return n.settled(squeeze(slice(taps, {k, 0}, {k + 1, kSliceToEnd}), {0}));
    };
    const std::int64_t count = index.shape()[0];
    if (count == kUnknown || count > kFew) {
      const Var product = gather(x, index, line.axis) * over(factor, x, line.axis);
      y = reduce_sum(product, {line.axis});
    } else {
      for (std::int64_t k = 0; k < count; ++k) {
        const Var part = gather(x, tap(index, k), line.axis) * over(tap(factor, k), x, line.axis);
        y = y ? y + part : part;
      }
    }
  }
  if (how.coordinates != "tf_crop_and_resize") return y;
  const Var outside = n.settled(logical_or(lt(at, 0.0), gt(at, line.in - 1.0)));
  return select(over(outside, x, line.axis), scalar(n.graph, y.dtype(), how.extrapolated), y);
}

// Interpolated numbers are computed in a floating dtype, and integers rounded and saturated.
Var interpolated(Node n, const Resizing& how, std::span<const Line> lines, Var x) {
  const DType dtype = x.dtype();
  if (how.mode != "nearest") {
    if (!is_floating(dtype)) {
      if (dtype == DType::boolean) n.invalid("mode '" + how.mode + "' of bool");
      x = cast(x, dtype_size(dtype) <= 2 ? DType::f32 : DType::f64);
    } else {
      x = cast(x, dtype_info(dtype).compute);
    }
  }
  // Rows are cheaper to gather than elements, so the last axis goes when there is least to do: behind those that shrink
  // and before those that grow.
  std::vector<Line> order;
  for (const Line& line : lines) {
    const std::optional<double> scale = known(line.scale);
    if (scale && *scale < 1) order.push_back(line);
  }
  for (std::size_t i = lines.size(); i-- > 0;) {
    const std::optional<double> scale = known(lines[i].scale);
    if (!scale || *scale >= 1) order.push_back(lines[i]);
  }
  for (const Line& line : order) x = n.settled(resized(n, how, line, x));
  if (x.dtype() != dtype && !is_floating(dtype)) x = round(x);
  return cast(x, dtype);
}

Resizing resizing_of(Node n) {
  Resizing how;
  how.mode = n.text("mode", "nearest");
  if (how.mode == "bilinear") how.mode = "linear";
  if (n.version() < 11) {
    how.coordinates = "asymmetric";
    how.nearest = "simple";
  } else {
    how.coordinates = n.text("coordinate_transformation_mode", how.coordinates);
    how.nearest = n.text("nearest_mode", how.nearest);
    how.cubic = n.number("cubic_coeff_a", how.cubic);
    how.extrapolated = n.number("extrapolation_value", 0);
    how.exclude_outside = n.integer("exclude_outside", 0) != 0;
    how.antialias = n.integer("antialias", 0) != 0;
  }
  if (how.mode != "nearest" && how.mode != "linear" && (how.mode != "cubic" || n.version() < 11))
    n.invalid("mode '" + how.mode + "'");
  if (how.mode == "nearest" && how.antialias) n.invalid("antialias of mode 'nearest'");
  return how;
}

// Each axis with its `scales` (f32 vector), or with `sizes` (i64 vector) under a policy.
std::vector<Line> lines_of(Node n, const Ints& axes, Var scales, Var sizes, Var regions) {
  const Var x = n.in(0);
  const Var given = sizes ? sizes : scales;
  const auto length = static_cast<std::int64_t>(axes.size());
  if (given.rank() != 1 || (given.shape()[0] != length && given.shape()[0] != kUnknown))
    n.invalid((sizes ? "sizes " : "scales ") + given.shape().str() + " for " + std::to_string(length) + " axes");
  std::vector<Line> lines;
  Var common;  // the scale that keeps the aspect ratio
  const std::string policy = n.text("keep_aspect_ratio_policy", "stretch");
  if (policy != "stretch" && policy != "not_larger" && policy != "not_smaller")
    n.invalid("keep_aspect_ratio_policy '" + policy + "'");
  for (std::int64_t i = 0; i < length; ++i) {
    Line line{static_cast<int>(axes[static_cast<std::size_t>(i)]), {}, {}, {}, {}, {}, {}};
    line.in = real(extent_of(x, line.axis));
    if (sizes) {
      line.count = cast(element(n, sizes, i), DType::i64);
      line.out = real(line.count);
      line.scale = line.out / line.in;
      common = !common                  ? line.scale
               : policy == "not_larger" ? minimum(common, line.scale)
                                        : maximum(common, line.scale);
    } else {
      line.scale = real(element(n, scales, i));
      line.out = line.scale * line.in;
      line.count = whole(floor(line.out));
    }
    if (regions) {
      line.from = real(element(n, regions, i));
      line.to = real(element(n, regions, i + length));
    }
    lines.push_back(line);
  }
  for (Line& line : lines) {
    if (sizes && policy != "stretch") {
      line.scale = common;
      line.out = common * line.in;
      line.count = whole(floor(line.out + 0.5));
    }
    for (Var* number : {&line.in, &line.count, &line.out, &line.scale}) *number = n.settled(*number);
    const std::optional<double> scale = known(line.scale), count = known(line.count);
    if ((scale && !(*scale > 0)) || (count && *count < 0))
      n.invalid("a scale or a size of axis " + std::to_string(line.axis) + " is not positive");
  }
  return lines;
}

// An axis that keeps its extent, and all of it.
bool same(const Line& line, Var x) {
  const bool all = !line.from || (known(line.from) == 0.0 && known(line.to) == 1.0);
  const std::optional<double> in = known(line.in), count = known(line.count);
  const bool as_before = is_extent_of(line.count, x, line.axis) || known(line.scale) == 1.0;
  return all && ((in && count && *in == *count && known(line.scale) == 1.0) || (as_before && !(in && count)));
}

Results resize(Node n, const Ints& axes, Var scales, Var sizes, Var regions) {
  const Resizing how = resizing_of(n);
  if (how.coordinates != "tf_crop_and_resize") regions = {};
  std::vector<Line> lines = lines_of(n, axes, scales, sizes, regions);
  std::erase_if(lines, [&](const Line& line) { return same(line, n.in(0)); });
  return {lines.empty() ? n.in(0) : interpolated(n, how, lines, n.in(0))};
}

Ints all_axes(Var x) {
  Ints axes;
  for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
  return axes;
}

// The inputs are (X, scales) in operator set 10 and (X, roi, scales, sizes) since; empty ones count as missing.
Results resize_operator(Node n) {
  const Var x = n.in(0);
  if (n.version() < 11) return resize(n, all_axes(x), n.in(1), {}, {});
  const auto given = [&](std::size_t i) { return n.has(i) && n.in(i).shape() != Shape{0} ? n.in(i) : Var{}; };
  Ints axes = n.has_attribute("axes") ? n.ints("axes") : all_axes(x);
  unsigned seen = 0;
  for (std::int64_t& axis : axes) {
    axis = normalize_axis(axis, x.rank(), "axis");
    if ((seen >> axis & 1) != 0) n.invalid("axis " + std::to_string(axis) + " is named twice");
    seen |= 1u << axis;
  }
  const Var regions = given(1), scales = given(2), sizes = given(3);
  if (bool(scales) == bool(sizes)) n.invalid("one of scales and sizes is needed");
  if (!regions && n.text("coordinate_transformation_mode", "") == "tf_crop_and_resize")
    n.invalid("tf_crop_and_resize needs a roi");
  return resize(n, axes, scales, sizes, regions);
}

// Scales are two attributes in operator set 1, one in 7 and an input in 9.
Results upsample(Node n) {
  const Var x = n.in(0);
  if (n.version() >= 9) return resize(n, all_axes(x), n.in(1), {}, {});
  std::vector<float> scales = n.numbers("scales");
  if (n.version() < 7) {
    scales.assign(
        {1, 1, static_cast<float>(n.number("height_scale", 1)), static_cast<float>(n.number("width_scale", 1))});
  }
  const auto count = static_cast<std::int64_t>(scales.size());
  const Var vector = constant(n.graph, make_constant(DType::f32, Shape{count}, std::as_bytes(std::span(scales))));
  return resize(n, all_axes(x), vector, {}, {});
}

constexpr Operator kOperators[] = {
    {"Resize", 10, kAny, resize_operator},
    {"Upsample", 1, 9, upsample},
};

}  // namespace

std::span<const Operator> resize_operators() { return kOperators; }

}  // namespace ml::onnx
