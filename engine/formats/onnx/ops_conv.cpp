// Convolutions, their transpose, and Col2Im.
#include <algorithm>

#include "engine/formats/onnx/window.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

Var zero(Var like) { return scalar(*like.graph, like.dtype(), 0); }

Results conv(Node n) {
  const Window w = window_of(n, kernel_shape_or_weights(n, n.in(1)));
  Var x = n.in(0);
  if (w.pads_first()) x = padded(n, x, w.pads, "constant", zero(x));
  return {convolution(x, n.in(1), n.has(2) ? n.in(2) : Var{}, w.windows, n.integer("group", 1))};
}

// What a transposed convolution reaches along one dimension, and what of that is cut off (or, negative, put there).
struct Reach {
  Var full, low, high;  // i64[]
};

Reach reach_of(Node n, const Windows& w, const Ints& size, std::size_t d) {
  const std::size_t rank = size.size();
  const Ints extra = n.ints("output_padding", Ints(rank, 0));
  Ints wanted = n.ints("output_shape");
  if (wanted.size() == rank + 2) wanted.erase(wanted.begin(), wanted.begin() + 2);
  if (extra.size() != rank || (!wanted.empty() && wanted.size() != rank))
    n.invalid("output_padding and output_shape must have one entry per spatial dimension");
  const std::string automatic = n.text("auto_pad", "NOTSET");
  const bool same = automatic == "SAME_UPPER" || automatic == "SAME_LOWER";
  const Var extent = extent_of(n.in(0), static_cast<int>(d) + 2);
  const auto stride = static_cast<double>(w.strides[d]), more = static_cast<double>(extra[d]);
  Reach reach{(extent - 1.0) * stride + static_cast<double>((size[d] - 1) * w.dilations[d] + 1),
              number_of(n.graph, automatic == "VALID" ? 0 : w.pad_low[d]),
              number_of(n.graph, automatic == "VALID" ? 0 : w.pad_high[d])};
  reach.high = reach.high - more;
  if (!wanted.empty() || same) {
    const Var target = wanted.empty() ? extent * stride : number_of(n.graph, wanted[d]);
    const Var total = reach.full + more - target, half = div(maximum(total, 0.0), 2.0);
    reach.low = automatic == "SAME_UPPER" ? half : maximum(total, 0.0) - half;
    reach.high = reach.full - target - reach.low;
  }
  return {n.settled(reach.full), n.settled(reach.low), n.settled(reach.high)};
}

// The transpose as a convolution of x with zeros between its elements, which needs no extents: for those not known.
Var spread_convolution(Node n, const Windows& w, const Ints& size, std::int64_t groups) {
  const Var weight = n.in(1);
  const Shape& shape = weight.shape();  // [C, M / groups, window...]
  if (!shape.known()) n.unsupported("ConvTranspose with weights of unknown size");
  if (groups < 1 || shape[0] % groups != 0)
    n.invalid(std::to_string(groups) + " groups of " + std::to_string(shape[0]) + " channels");
  PadAttributes between;
  between.low = between.high = between.interior = Ints(static_cast<std::size_t>(n.in(0).rank()), 0);
  Windows full = Windows::unit(static_cast<int>(size.size()));
  full.dilations = w.dilations;
  Ints window_axes, by_group{groups, shape[0] / groups, shape[1]}, swapped{0, 2, 1},
      whole{groups * shape[1], shape[0] / groups};
  for (std::size_t d = 0; d < size.size(); ++d) {
    between.interior[d + 2] = w.strides[d] - 1;
    full.pad_low[d] = full.pad_high[d] = (size[d] - 1) * w.dilations[d];
    window_axes.push_back(static_cast<std::int64_t>(d) + 2);
    by_group.push_back(size[d]);
    swapped.push_back(static_cast<std::int64_t>(d) + 3);
    whole.push_back(size[d]);
  }
  const Var spread = emit("pad", {n.in(0)}, std::make_shared<PadAttributes>(std::move(between)));
  const Var turned = transpose(reshaped(reverse(weight, window_axes), by_group), swapped);
  return convolution(spread, reshaped(turned, whole), {}, full, groups);
}

// The gradient of a convolution with respect to its input: weights are [C, M / group, window...].
Results conv_transpose(Node n) {
  const Ints size = kernel_shape_or_weights(n, n.in(1));
  Windows w = plain_windows(n, size);
  const std::int64_t groups = n.integer("group", 1);
  std::vector<Reach> reaches;
  for (std::size_t d = 0; d < size.size(); ++d) reaches.push_back(reach_of(n, w, size, d));
  const bool told =
      std::ranges::all_of(reaches, [](const Reach& r) { return known(r.full) && known(r.low) && known(r.high); });
  std::vector<Padding> rest;  // what the row does not cut itself
  Ints extents;
  for (std::size_t d = 0; d < size.size(); ++d) {
    const Reach& r = reaches[d];
    const int axis = static_cast<int>(d) + 2;
    const auto cut = [&](Var amount) {
      return told ? std::max<std::int64_t>(static_cast<std::int64_t>(*known(amount)), 0) : 0;
    };
    w.pad_low[d] = cut(r.low);
    w.pad_high[d] = cut(r.high);
    rest.push_back({axis, neg(told ? minimum(r.low, 0.0) : r.low), neg(told ? minimum(r.high, 0.0) : r.high)});
    if (!told) continue;
    extents.push_back(static_cast<std::int64_t>(*known(r.full)) - w.pad_low[d] - w.pad_high[d]);
    if (extents.back() < 0) n.invalid("its pads cut off more than there is along axis " + std::to_string(axis));
  }
  Var y =
      told ? convolution_input_gradient(n.in(0), n.in(1), w, groups, extents) : spread_convolution(n, w, size, groups);
  y = padded(n, y, rest, "constant", zero(y));
  if (n.has(2)) {
    Shape per_channel{n.in(2).shape().at(0)};
    for (std::size_t d = 0; d < size.size(); ++d) per_channel.append(1);
    y = y + reshape(n.in(2), per_channel);
  }
  return {y};
}

// Columns [N, C * window, windows] added up into pictures [N, C, extents...]: a scatter along the flat picture, whose
// last place takes what falls on padding.
Results col2im(Node n) {
  const Var image = cast(n.settled(n.in(1)), DType::i64), block = cast(n.settled(n.in(2)), DType::i64);
  const Var x = n.in(0);
  const std::int64_t rank = image.rank() == 1 && image.shape()[0] != kUnknown ? image.shape()[0]
                            : block.rank() == 1                               ? block.shape()[0]
                                                                              : kUnknown;
  if (rank < 1 || 2 * rank > kMaxRank || x.rank() != 3)
    n.unsupported("Col2Im of " + x.shape().str() + " into this picture");
  const Windows w = plain_windows(n, Ints(static_cast<std::size_t>(rank), 1));
  Var place = number_of(n.graph, 0), inside, window = number_of(n.graph, 1), picture = window;
  std::vector<Var> shape;
  for (std::int64_t d = 0; d < rank; ++d) {
    const auto i = static_cast<std::size_t>(d);
    const auto stride = static_cast<double>(w.strides[i]), dilation = static_cast<double>(w.dilations[i]);
    const auto low = static_cast<double>(w.pad_low[i]), high = static_cast<double>(w.pad_high[i]);
    const Var extent = element(n, image, d), size = element(n, block, d);
    const Var count = div(extent + (low + high) - (size - 1.0) * dilation - 1.0, stride) + 1.0;
    Ints others, behind;  // all positions in the window come before all windows
    for (std::int64_t k = 0; k < 2 * rank; ++k) {
      if (k != d) others.push_back(k);
      if (k != d + rank) behind.push_back(k);
    }
    const Var at = unsqueeze(count_up(n, size, DType::i64), others) * dilation +
                   unsqueeze(count_up(n, count, DType::i64), behind) * stride - low;
    const Var here = logical_and(ge(at, 0.0), lt(at, extent));
    inside = inside ? logical_and(inside, here) : here;
    place = place * extent + at;
    window = window * size;
    picture = picture * extent;
    shape.push_back(extent);
  }
  const Var index = n.settled(reshaped(select(inside, place, picture), {kUnknown}));
  const Var images = extent_of(x, 0), channels = div(extent_of(x, 1), window);
  const Var columns =
      n.settled(reshape_to(x, vector_of(std::vector<Var>{images, channels, window * extent_of(x, 2)}), true));
  const Var nothing = filled(n, zero(x), vector_of(std::vector<Var>{images, channels, picture + 1.0}));
  const Var sums = scatter_add(nothing, index, columns, 2);
  shape.insert(shape.begin(), {images, channels});
  return {reshape_to(slice(sums, {0, 0, 0}, {kSliceToEnd, kSliceToEnd, -1}), vector_of(shape), true)};
}

constexpr Operator kOperators[] = {
    {"Col2Im", 18, kAny, col2im},
    {"Conv", 1, kAny, conv},
    {"ConvTranspose", 1, kAny, conv_transpose},
};

}  // namespace

std::span<const Operator> conv_operators() { return kOperators; }

}  // namespace ml::onnx
