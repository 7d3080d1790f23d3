// GridSample, AffineGrid and DeformConv: pictures read at places that tensors tell.
#include <algorithm>

#include "engine/formats/onnx/bodies.h"
#include "engine/formats/onnx/sampling.h"
#include "engine/graph/build_control.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

Var number(Var like, double value) { return scalar(*like.graph, like.dtype(), value); }

// Element i of the last dimension.
Var component(Var x, std::int64_t i) {
  const int last = x.rank() - 1;
  Ints starts(static_cast<std::size_t>(x.rank()), 0), ends(static_cast<std::size_t>(x.rank()), kSliceToEnd);
  starts.back() = i;
  ends.back() = i + 1;
  return squeeze(slice(x, starts, ends), {last});
}

// `x` as floats of its own precision, for arithmetic.
Var widened(Var x) { return cast(x, dtype_info(x.dtype()).compute); }

struct Sampling {
  std::string mode, padding;
  bool align_corners;
};

// One spatial dimension of the picture, in the dtype that places are computed in.
struct Side {
  Var extent;     // i64[]
  Var last;       // index
  Var low, high;  // where the picture begins and ends
};

// Reflected at both ends as often as it takes: a triangle wave.
Var reflected(Var at, const Side& side) {
  const Var span = side.high - side.low;
  const Var along = rem(abs(at - side.low), span * 2.0);
  const Var folded = select(gt(along, span), span * 2.0 - along, along);
  return side.low + select(eq(span, 0.0), number(at, 0), folded);
}

Taps taps_of(const Sampling& how, const Side& side, Var at) {
  if (how.mode == "nearest") at = round(at);
  if (how.padding == "reflection")
    at = select(logical_or(lt(at, side.low), gt(at, side.high)), reflected(at, side), at);
  at = maximum(minimum(at, side.last + 3.0), -3.0);  // farther away all taps are alike, and distances would be lost
  const std::int64_t count = how.mode == "nearest" ? 1 : how.mode == "linear" ? 2 : 4;
  Shape offsets{count};
  for (int i = 0; i < at.rank(); ++i) offsets.append(1);
  Taps taps;
  Var place = unsqueeze(at, {0});
  if (count > 1) {
    place = floor(at) + (iota(*at.graph, at.dtype(), offsets, 0) + (count == 4 ? -1.0 : 0.0));
    taps.weight = count == 2 ? tent_filter(place - at) : cubic_filter(place - at, -0.75);
  }
  if (how.padding == "zeros") taps.inside = logical_and(ge(place, 0.0), le(place, side.last));
  if (how.padding == "reflection") place = reflected(place, side);
  taps.index = cast(maximum(minimum(place, side.last), 0.0), DType::i64);
  return taps;
}

// x [N, C, spatial...], grid [N, out..., places] from -1 to 1, the last spatial dimension first.
Results grid_sample(Node n) {
  const Var x = n.in(0), grid = widened(n.in(1));
  const int spatial = x.rank() - 2;
  Sampling how{n.text("mode", "linear"), n.text("padding_mode", "zeros"), n.integer("align_corners", 0) != 0};
  if (how.mode == "bilinear") how.mode = "linear";
  if (how.mode == "bicubic") how.mode = "cubic";
  if (how.mode != "nearest" && how.mode != "linear" && how.mode != "cubic") n.invalid("mode '" + how.mode + "'");
  if (how.padding != "zeros" && how.padding != "border" && how.padding != "reflection")
    n.invalid("padding_mode '" + how.padding + "'");
  if (spatial < 1 || spatial > 3) n.unsupported("GridSample of " + x.shape().str());
  if (grid.rank() != x.rank() || (grid.shape().at(-1) != spatial && grid.shape().at(-1) != kUnknown))
    n.invalid("a grid " + grid.shape().str() + " over " + x.shape().str());
  const Picture picture = picture_of(n, x, how.padding == "zeros" ? Outside::zero : Outside::never_read);
  std::vector<Taps> taps;
  for (int d = 0; d < spatial; ++d) {
    const Var extent = picture.extents[static_cast<std::size_t>(d)], length = cast(extent, grid.dtype());
    const double edge = how.align_corners ? 0 : 0.5;
    const Side side{extent, length - 1.0, number(length, -edge), length - (1.0 - edge)};
    const Var part = component(grid, spatial - 1 - d) + 1.0;
    taps.push_back(taps_of(how, side, how.align_corners ? part / 2.0 * side.last : (part * length - 1.0) / 2.0));
  }
  Ints ones, order = picture.channels_first ? Ints{1, 0} : Ints{0, spatial + 1};
  for (int d = 0; d < spatial; ++d) {
    ones.push_back(d + 1);
    order.push_back(d + (picture.channels_first ? 2 : 1));
  }
  const Var pictures = unsqueeze(count_up(n, extent_of(x, 0), DType::i64), ones);
  DType dtype = x.dtype();
  if (how.mode != "nearest")
    dtype = is_floating(dtype) ? dtype_info(dtype).compute : dtype_size(dtype) <= 2 ? DType::f32 : DType::f64;
  return {cast(transpose(sampled(picture, taps, pictures, dtype), order), x.dtype())};
}

// theta [N, k, k + 1] applied to the places of the elements of a picture of `size` [N, C, spatial...].
Results affine_grid(Node n) {
  const Var theta = widened(n.in(0)), size = n.settled(n.in(1));
  const std::int64_t sizes = size.rank() == 1 ? size.shape()[0] : 0;
  const std::int64_t spatial = sizes == kUnknown && theta.rank() == 3 ? theta.shape()[1] : sizes - 2;
  const auto fits = [&](std::int64_t extent, std::int64_t wanted) { return extent == wanted || extent == kUnknown; };
  if (spatial < 1 || spatial > 3 || theta.rank() != 3 || !fits(theta.shape()[1], spatial) ||
      !fits(theta.shape()[2], spatial + 1)) {
    n.invalid("theta " + theta.shape().str() + " for a size of " + size.shape().str() + " extents");
  }
  const bool align_corners = n.integer("align_corners", 0) != 0;
  // Column j of theta over [N, out..., k].
  Ints between(static_cast<std::size_t>(spatial));
  for (std::int64_t d = 0; d < spatial; ++d) between[static_cast<std::size_t>(d)] = d + 1;
  const auto column = [&](std::int64_t j) { return unsqueeze(component(theta, j), between); };
  Var grid = column(spatial);
  for (std::int64_t d = 0; d < spatial; ++d) {
    const Var extent = element(n, size, d + 2), length = cast(extent, theta.dtype());
    const Var at = count_up(n, extent, theta.dtype()) * 2.0;
    const Var step = maximum(length - 1.0, 1.0);  // a single element lies at the low corner
    const Var place = align_corners ? at / step - 1.0 : (at + 1.0) / length - 1.0;
    Ints others;  // [out, 1...]: behind it lie the later dimensions and the components
    for (std::int64_t i = d + 1; i <= spatial; ++i) others.push_back(i - d);
    grid = grid + column(spatial - 1 - d) * unsqueeze(place, others);
  }
  return {cast(grid, n.in(0).dtype())};
}

struct Deformation {
  Ints window, strides, dilations, low;
  std::int64_t groups, offset_groups, positions;  // of the window
};

Deformation deformation_of(Node n) {
  const Shape &x = n.in(0).shape(), &weight = n.in(1).shape();
  const int rank = x.rank() - 2;
  if (rank < 1 || rank > 3 || weight.rank() != x.rank() || n.in(2).rank() != x.rank())
    n.invalid("an input " + x.str() + ", weights " + weight.str() + " and offsets " + n.in(2).shape().str());
  if (!weight.known() || x[1] == kUnknown) n.unsupported("DeformConv of unknown channels or window");
  const auto size = static_cast<std::size_t>(rank);
  Deformation d{{weight.begin() + 2, weight.end()},
                n.ints("strides", Ints(size, 1)),
                n.ints("dilations", Ints(size, 1)),
                n.ints("pads", Ints(2 * size, 0)),
                n.integer("group", 1),
                n.integer("offset_group", 1),
                1};
  if (d.strides.size() != size || d.dilations.size() != size || d.low.size() != 2 * size)
    n.invalid("strides, pads and dilations must have one entry (two for pads) per spatial dimension");
  for (const std::int64_t extent : d.window) d.positions *= extent;
  const bool fits = d.groups > 0 && d.offset_groups > 0 && x[1] % d.offset_groups == 0 && weight[0] % d.groups == 0 &&
                    x[1] % d.groups == 0 && x[1] / d.groups == weight[1];
  if (!fits) {
    n.invalid(std::to_string(d.groups) + " groups and " + std::to_string(d.offset_groups) +
              " offset groups for an input " + x.str() + " and weights " + weight.str());
  }
  return d;
}

// A convolution whose window positions are moved by offsets [N, offset groups * positions * k, out...] and weighted by
// a mask [N, offset groups * positions, out...]. A scan over the window's positions reads what the weights then
// multiply.
Results deform_conv(Node n) {
  const Var x = n.in(0), weight = n.in(1);
  const Deformation d = deformation_of(n);
  const int rank = x.rank() - 2;
  const std::int64_t channels = x.shape()[1] / d.offset_groups;
  Ints by_group{kUnknown, channels};
  for (int i = 2; i < x.rank(); ++i) by_group.push_back(kept(x.shape()[i], i));
  const Picture picture = picture_of(n, reshaped(x, by_group), Outside::zero);

  const Var offset = widened(n.in(2));
  const std::int64_t batch = kept(offset.shape()[0], 0);
  const Var moved = transpose(reshaped(offset, {batch, d.offset_groups, d.positions, rank, kUnknown}), {2, 3, 0, 1, 4});
  Var mask = n.has(4) ? widened(n.in(4)) : scalar(n.graph, offset.dtype(), 1);
  if (n.has(4)) mask = transpose(reshaped(mask, {batch, d.offset_groups, d.positions, kUnknown}), {2, 0, 1, 3});
  if (!n.has(4)) mask = broadcast_to(mask, Shape{d.positions, 1, 1, 1});

  // Where the window's first position lies, for each element of the result.
  Var out = number_of(n.graph, 1);
  for (int i = 0; i < rank; ++i) out = out * extent_of(offset, i + 2);
  Var element = count_up(n, out, DType::i64);
  std::vector<Var> first(static_cast<std::size_t>(rank));
  for (int i = rank; i-- > 0;) {
    const auto k = static_cast<std::size_t>(i);
    const Var extent = extent_of(offset, i + 2);
    const Var at = rem(element, extent);
    first[k] = cast(at, offset.dtype()) * static_cast<double>(d.strides[k]) - static_cast<double>(d.low[k]);
    element = div(element, extent);
  }
  const Var pictures = reshaped(count_up(n, extent_of(x, 0) * static_cast<double>(d.offset_groups), DType::i64),
                                {kUnknown, d.offset_groups, 1});

  Body body;
  const auto slice_of = [](Var stacked) {
    return TensorType{stacked.dtype(), Shape(stacked.shape().dims().subspan(1))};
  };
  const Var numbers = iota(n.graph, DType::i64, Shape{d.positions}, 0);
  const Var position = body.argument(slice_of(numbers));
  const Var offsets = body.argument(slice_of(moved));  // [k, N, offset groups, out]
  const Var factor = body.argument(slice_of(mask));
  Picture inner{body.outside(picture.places), picture.channels_first, body.outside(picture.nowhere), {}};
  for (const Var& extent : picture.extents) inner.extents.push_back(body.outside(extent));
  std::vector<Taps> taps(static_cast<std::size_t>(rank));
  Var rest = position;
  for (int i = rank; i-- > 0;) {
    const auto k = static_cast<std::size_t>(i);
    const Var inside = cast(rem(rest, static_cast<double>(d.window[k])), offset.dtype());
    rest = div(rest, static_cast<double>(d.window[k]));
    Ints starts{i, 0, 0, 0}, ends{i + 1, kSliceToEnd, kSliceToEnd, kSliceToEnd};
    const Var at = squeeze(slice(offsets, starts, ends), {0}) + body.outside(first[k]) +
                   inside * static_cast<double>(d.dilations[k]);
    taps[k] = linear_taps(at, inner.extents[k]);
  }
  const DType dtype = dtype_info(x.dtype()).compute;
  const Var weighed = cast(picture.channels_first ? factor : unsqueeze(factor, {3}), dtype);
  const Var read = sampled(inner, taps, body.outside(pictures), dtype) * weighed;
  const GraphPtr turn = body.answering({cast(read, x.dtype())});
  const Var columns = scan(turn, {}, std::vector<Var>{numbers, moved, mask}, body.captured()).front();

  const std::int64_t per_group = weight.shape()[1] * d.positions, outputs = weight.shape()[0];
  // [N, offset groups, channels, positions, out]
  const Var by_channel = transpose(columns, picture.channels_first ? Ints{2, 3, 1, 0, 4} : Ints{1, 2, 4, 0, 3});
  const Var grouped = reshaped(by_channel, {kept(by_channel.shape()[0], 0), d.groups, per_group, kUnknown});
  const Var product = matmul(reshape(weight, Shape{d.groups, outputs / d.groups, per_group}), grouped);
  std::vector<Var> shape{extent_of(x, 0), number_of(n.graph, outputs)};
  for (int i = 0; i < rank; ++i) shape.push_back(extent_of(offset, i + 2));
  Var y = reshape_to(product, vector_of(shape), true);
  if (n.has(3)) {
    Ints per_channel(static_cast<std::size_t>(rank) + 1, 1);
    per_channel[0] = outputs;
    y = y + reshaped(n.in(3), per_channel);
  }
  return {y};
}

constexpr Operator kOperators[] = {
    {"AffineGrid", 20, kAny, affine_grid},
    {"DeformConv", 19, kAny, deform_conv},
    {"GridSample", 16, kAny, grid_sample},
};

}  // namespace

std::span<const Operator> sample_operators() { return kOperators; }

}  // namespace ml::onnx
