#include "engine/formats/onnx/sampling.h"

#include <algorithm>
#include <numeric>

namespace ml::onnx {
namespace {

Var number(Var like, double value) { return scalar(*like.graph, like.dtype(), value); }

}  // namespace

Var tent_filter(Var distance) { return maximum(1.0 - abs(distance), 0.0); }

Var cubic_filter(Var distance, double a) {
  const Var d = abs(distance);
  const Var inner = ((a + 2) * d - (a + 3)) * d * d + 1.0;
  const Var outer = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return select(le(d, 1.0), inner, select(lt(d, 2.0), outer, number(d, 0)));
}

Picture picture_of(const NodeContext& n, Var x, Outside outside) {
  constexpr std::int64_t kFew = 64;
  const std::int64_t channels = x.shape()[1];
  Picture picture{x, channels != kUnknown && channels <= kFew, {}, {}};
  Ints order{0, 1};
  for (int axis = 2; axis < x.rank(); ++axis) {
    order.push_back(axis);
    picture.extents.push_back(extent_of(x, axis));
  }
  if (picture.channels_first) {
    std::swap(order[0], order[1]);
    if (x.shape()[0] != 1) x = transpose(x, order);
    picture.places = reshaped(x, {channels, kUnknown});
  } else {
    std::rotate(order.begin() + 1, order.begin() + 2, order.end());
    picture.places = reshaped(transpose(x, order), {kUnknown, kept(channels, x.rank() - 1)});
  }
  picture.places = n.settled(picture.places);
  if (outside == Outside::zero) {
    const int axis = picture.channels_first ? 1 : 0;
    const Var one = number_of(n.graph, 1), other = extent_of(picture.places, 1 - axis);
    const Var zero =
        filled(n, number(x, 0), vector_of(axis == 0 ? std::vector<Var>{one, other} : std::vector<Var>{other, one}));
    picture.nowhere = n.settled(extent_of(picture.places, axis));
    picture.places = n.settled(concat(std::vector<Var>{picture.places, zero}, axis));
  }
  return picture;
}

Taps linear_taps(Var at, Var extent) {
  const Var base = floor(at);
  Shape two{2};
  for (int i = 0; i < at.rank(); ++i) two.append(1);
  const Var place = base + iota(*at.graph, at.dtype(), two, 0);
  const Var last = cast(extent, at.dtype()) - 1.0;
  return {cast(maximum(minimum(place, last), 0.0), DType::i64), tent_filter(place - at),
          logical_and(ge(place, 0.0), le(place, last))};
}

Var weighted_places(const Picture& picture, std::span<const Taps> taps, Var pictures, DType dtype) {
  const auto rank = static_cast<std::int64_t>(taps.size());
  Var place = pictures, weight, inside;
  for (std::int64_t d = 0; d < rank; ++d) {
    Ints others;  // the taps of the other dimensions
    for (std::int64_t i = 0; i < rank; ++i) {
      if (i != d) others.push_back(i);
    }
    const auto spread = [&](Var x) { return others.empty() ? x : unsqueeze(x, others); };
    const Taps& along = taps[static_cast<std::size_t>(d)];
    place = place * picture.extents[static_cast<std::size_t>(d)] + spread(along.index);
    if (along.weight) weight = weight ? weight * spread(along.weight) : spread(along.weight);
    if (along.inside) inside = inside ? logical_and(inside, spread(along.inside)) : spread(along.inside);
  }
  if (inside) place = select(inside, place, picture.nowhere);
  const Var values = cast(gather(picture.places, place, picture.channels_first ? 1 : 0), dtype);
  if (!weight) return values;
  weight = cast(weight, dtype);
  return values * (picture.channels_first ? weight : unsqueeze(weight, {weight.rank()}));
}

Var sampled(const Picture& picture, std::span<const Taps> taps, Var pictures, DType dtype) {
  Ints axes(taps.size());
  std::iota(axes.begin(), axes.end(), picture.channels_first ? 1 : 0);
  return reduce_sum(weighted_places(picture, taps, pictures, dtype), axes);
}

}  // namespace ml::onnx
