// Windows, mel filters and Fourier transforms. Whatever input says a size may be computed when the model runs.
#include <algorithm>
#include <numbers>

#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// `constant` + sum of weights[k] cos(2 pi (k + 1) i / n), with n the size, or one less for a symmetric window.
Results window(Node n, double constant, std::initializer_list<double> weights) {
  const Var size = number_input(n, 0), at = count_up(n, size, DType::f64);
  const Var period = cast(n.integer("periodic", 1) != 0 ? size : maximum(size - 1.0, 1.0), DType::f64);
  Var sum = at * 0.0 + constant;
  double turns = 0;
  for (const double weight : weights) sum = sum + cos(at * (2 * std::numbers::pi * ++turns) / period) * weight;
  return {cast(sum, n.dtype("output_datatype", DType::f32))};
}
Results hann_window(Node n) { return window(n, 0.5, {-0.5}); }
Results hamming_window(Node n) { return window(n, 25.0 / 46, {-21.0 / 46}); }
Results blackman_window(Node n) { return window(n, 0.42, {-0.5, 0.08}); }

// Triangles over the frequencies [dft_length / 2 + 1, mel bins], their corners evenly spaced on the mel scale.
Results mel_weight_matrix(Node n) {
  const Var bins = number_input(n, 0), length = number_input(n, 1), rate = number_input(n, 2);
  const auto edge = [&](std::size_t i) { return n.settled(reshape(cast(n.in(i), DType::f64), Shape{})); };
  const auto mel = [](Var hertz) { return log(hertz / 700.0 + 1.0) * (2595 / std::numbers::ln10); };
  const Var low = mel(edge(3)), high = mel(edge(4)), corners = n.settled(bins + 2.0);
  const Var step = (high - low) / cast(corners, DType::f64);
  const Var mels = count_up(n, corners, DType::f64) * step + low;
  const Var hertz = expm1(mels * (std::numbers::ln10 / 2595)) * 700.0;
  const Var corner = floor(cast(length + 1.0, DType::f64) * hertz / cast(rate, DType::f64));
  const auto corners_from = [&](std::int64_t first) {
    return part_of(n, corner, 0, number_of(n.graph, first), n.settled(bins + static_cast<double>(first)));
  };
  const Var left = corners_from(0), centre = corners_from(1), right = corners_from(2);
  const Var at = unsqueeze(count_up(n, n.settled(length / 2.0 + 1.0), DType::f64), {1});
  const auto inside = [&at](Var from, Var to) { return logical_and(ge(at, from), le(at, to)); };
  const Var zero = scalar(n.graph, DType::f64, 0), one = scalar(n.graph, DType::f64, 1);
  // A side of no width is as steep as can be.
  const auto slope = [&](Var part, Var width) { return select(gt(width, zero), part / width, one); };
  const Var rising = select(inside(left, centre), slope(at - left, centre - left), zero);
  const Var falls = logical_and(inside(centre, right), lt(at, right));
  return {cast(select(falls, slope(right - at, right - centre), rising), n.dtype("output_datatype", DType::f32))};
}

// Along the last dimension but one `length` elements of x, as many as there are and then zeros.
Var resized(Node n, Var x, Var length) {
  const int axis = x.rank() - 2;
  const std::int64_t from = x.shape()[axis];
  const std::int64_t to = known_integer(length).value_or(kUnknown);
  if (from != kUnknown && to != kUnknown) {
    Ints zeros(static_cast<std::size_t>(x.rank()), 0), ends(zeros.size(), kSliceToEnd), missing(zeros);
    ends[static_cast<std::size_t>(axis)] = to;
    missing[static_cast<std::size_t>(axis)] = std::max<std::int64_t>(to - from, 0);
    if (to <= from) return to == from ? x : slice(x, zeros, ends);
    return pad(x, zeros, missing);
  }
  const Var at = count_up(n, length, DType::i64), extent = extent_of(x, axis);
  const Var there = unsqueeze(lt(at, extent), {1});
  return select(there, gather(x, minimum(at, extent - 1.0), axis), scalar(n.graph, x.dtype(), 0));
}

// The transform along the last dimension but one. An inverse of one side answers real numbers: the missing frequencies
// are the conjugates of those that there are.
Var transformed(Node n, Var x, Var length) {
  const bool inverse = n.integer("inverse", 0) != 0, onesided = n.integer("onesided", 0) != 0;
  const int axis = x.rank() - 2;
  const Var extent = extent_of(x, axis);
  if (!length) length = inverse && onesided ? (extent - 1.0) * 2.0 : extent;
  length = n.settled(length);
  const std::optional<std::int64_t> known_length = known_integer(length);
  if (known_length && *known_length < 0) n.invalid("a length of " + std::to_string(*known_length));
  if (!inverse || !onesided) return dft(resized(n, x, length), inverse, onesided);
  Var half = resized(n, x, n.settled(length / 2.0 + 1.0));
  if (half.shape().at(-1) == 1) half = concat(std::vector<Var>{half, half * 0.0}, half.rank() - 1);
  const Var at = count_up(n, length, DType::i64), mirrored = length - at;
  const Var sign = select(le(at, mirrored), scalar(n.graph, x.dtype(), 1), scalar(n.graph, x.dtype(), -1));
  const Var one = expand_to(scalar(n.graph, x.dtype(), 1), reshape(length, Shape{1}));
  const Var conjugate = concat(std::vector<Var>{unsqueeze(n.settled(one), {1}), unsqueeze(sign, {1})}, 1);
  const Var y = dft(gather(half, minimum(at, mirrored), axis) * conjugate, true);
  Ints starts(static_cast<std::size_t>(y.rank()), 0), ends(starts.size(), kSliceToEnd);
  ends.back() = 1;
  return slice(y, starts, ends);
}

// x with dimensions `axis` and the last but one exchanged.
Var exchanged(Node n, Var x, Var axis) {
  const Var place = iota(n.graph, DType::i64, Shape{x.rank()}, 0), other = number_of(n.graph, x.rank() - 2);
  return n.settled(transpose_by(x, select(eq(place, axis), other, select(eq(place, other), axis, place))));
}

// The axis is an attribute before operator set 20 and an input since.
Results dft_operator(Node n) {
  const Var x = n.in(0);
  if (x.rank() < 2) n.invalid("numbers [..., n, 1] or [..., n, 2] are needed, not " + x.shape().str());
  Var axis = number_of(n.graph, n.version() < 20 ? n.integer("axis", 1) : -2);
  if (n.version() >= 20 && n.has(2)) axis = number_input(n, 2);
  const Var length = n.has(1) ? number_input(n, 1) : Var{};
  if (const std::optional<std::int64_t> value = known_integer(axis)) {
    axis = number_of(n.graph, normalize_axis(*value, x.rank(), "axis"));
    if (known_integer(axis) == x.rank() - 1) n.invalid("the last axis holds real and imaginary parts");
    if (known_integer(axis) == x.rank() - 2) return {transformed(n, x, length)};
  } else {
    axis = gather(iota(n.graph, DType::i64, Shape{x.rank()}, 0), axis, 0);
  }
  return {exchanged(n, transformed(n, exchanged(n, x, axis), length), axis)};
}

// Frames of the signal [batch, n, 1 or 2], `frame_step` apart, weighted by the window, and their transforms.
Results stft(Node n) {
  const Var signal = n.in(0), step = number_input(n, 1);
  if (signal.rank() != 3) n.invalid("a signal [batch, n, 1 or 2] is needed, not " + signal.shape().str());
  if (known_integer(step).value_or(1) <= 0) n.invalid("a frame_step of " + std::to_string(*known_integer(step)));
  const Var window = n.has(2) ? n.in(2) : Var{};
  if (window && window.rank() != 1) n.invalid("a window " + window.shape().str() + " is no vector");
  const Var extent = extent_of(signal, 1);
  const Var length = n.has(3) ? number_input(n, 3) : window ? extent_of(window, 0) : extent;
  const Var count = n.settled((extent - length) / step + 1.0);
  const std::optional<std::int64_t> frame = known_integer(length);
  if (frame && *frame <= 0) n.invalid("a frame of " + std::to_string(*frame));
  if (known_integer(n.settled(extent - length)).value_or(0) < 0)
    n.invalid("a frame of " + std::to_string(frame.value_or(kUnknown)) + " in a signal " + signal.shape().str());
  const Var at = unsqueeze(count_up(n, count, DType::i64) * step, {1}) + count_up(n, length, DType::i64);
  Var frames = gather(signal, n.settled(at), 1);
  if (window) frames = frames * unsqueeze(window, {1});
  return {dft(frames, false, n.integer("onesided", 1) != 0)};
}

Results dft_row(Node n) { return {dft(n.in(0), n.integer("inverse", 0) != 0, n.integer("onesided", 0) != 0)}; }

constexpr Operator kOperators[] = {
    {"BlackmanWindow", 17, kAny, blackman_window},
    {"DFT", 17, kAny, dft_operator},
    {"HammingWindow", 17, kAny, hamming_window},
    {"HannWindow", 17, kAny, hann_window},
    {"MelWeightMatrix", 17, kAny, mel_weight_matrix},
    {"STFT", 17, kAny, stft},
    {"dft", 1, 1, dft_row, kRowDomain},
};

}  // namespace

std::span<const Operator> signal_operators() { return kOperators; }

}  // namespace ml::onnx
