#include "engine/formats/onnx/sampling.h"

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

Picture picture_of(const NodeContext& n, Var x) {
  Picture picture;
  Ints order{0};
  for (int axis = 2; axis < x.rank(); ++axis) {
    order.push_back(axis);
    picture.extents.push_back(extent_of(x, axis));
  }
  order.push_back(1);
  picture.rows = n.settled(reshaped(transpose(x, order), {kUnknown, kept(x.shape()[1], x.rank() - 1)}));
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

Var weighted_rows(const Picture& picture, std::span<const Taps> taps, Var pictures, DType dtype) {
  const auto rank = static_cast<std::int64_t>(taps.size());
  Var row = pictures, weight, inside;
  for (std::int64_t d = 0; d < rank; ++d) {
    Ints others;  // the taps of the other dimensions
    for (std::int64_t i = 0; i < rank; ++i) {
      if (i != d) others.push_back(i);
    }
    const auto spread = [&](Var x) { return others.empty() ? x : unsqueeze(x, others); };
    const Taps& along = taps[static_cast<std::size_t>(d)];
    row = row * picture.extents[static_cast<std::size_t>(d)] + spread(along.index);
    if (along.weight) weight = weight ? weight * spread(along.weight) : spread(along.weight);
    if (along.inside) inside = inside ? logical_and(inside, spread(along.inside)) : spread(along.inside);
  }
  Var values = cast(gather(picture.rows, row, 0), dtype);
  const auto per_row = [&](Var x) { return unsqueeze(x, {x.rank()}); };
  // What is outside counts as zero even where the row that stands for it is infinite.
  if (inside) values = select(per_row(inside), values, number(values, 0));
  return weight ? values * per_row(cast(weight, dtype)) : values;
}

Var sampled(const Picture& picture, std::span<const Taps> taps, Var pictures, DType dtype) {
  Ints axes(taps.size());
  std::iota(axes.begin(), axes.end(), 0);
  return reduce_sum(weighted_rows(picture, taps, pictures, dtype), axes);
}

}  // namespace ml::onnx
