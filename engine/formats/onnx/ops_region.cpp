// Regions of pictures: RoiAlign and NonMaxSuppression.
#include <limits>

#include "engine/formats/onnx/bodies.h"
#include "engine/formats/onnx/sampling.h"
#include "engine/graph/build_control.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

Var column(Var x, std::int64_t i) { return squeeze(slice(x, {0, i}, {kSliceToEnd, i + 1}), {1}); }
Var number(Var like, double value) { return scalar(*like.graph, like.dtype(), value); }

// One dimension of the regions: each of `bins` bins is read at `samples` places.
struct Side {
  std::int64_t bins;
  Var start, size;  // of a bin, [R]
  Var samples;      // [R], floating: how many are read where that is not told
};

Side side_of(Node n, Var from, Var to, const char* bins_attribute, bool half_pixel) {
  constexpr std::int64_t kMost = 1 << 15, kMostSamples = 64;
  const std::int64_t bins = n.integer(bins_attribute, 1), ratio = n.integer("sampling_ratio", 0);
  // The samples of a bin are taps of one sum, so there are not many where they are told.
  if (bins < 1 || bins > kMost || ratio > kMostSamples)
    n.invalid(std::string(bins_attribute) + " " + std::to_string(bins) + " and sampling_ratio " +
              std::to_string(ratio));
  const double scale = n.number("spatial_scale", 1), shift = half_pixel ? 0.5 : 0;
  const Var start = from * scale - shift;
  Var length = (to * scale - shift) - start;
  if (!half_pixel) length = maximum(length, 1.0);  // a malformed region has one element
  const Var size = length / static_cast<double>(bins);
  return {bins, start, size, ceil(size)};
}

// Taps [2, ...] around sample number `sample` (floating) of every bin of regions that begin at `start` and have bins of
// `size`; all but the bins broadcast.
Taps taps_of(const Side& side, Var start, Var size, Var samples, Var sample, Var extent) {
  const Var bin = iota(*size.graph, size.dtype(), Shape{side.bins}, 0);
  const Var at = start + bin * size + (sample + 0.5) * size / samples;
  const Var length = cast(extent, size.dtype());
  Taps taps = linear_taps(minimum(maximum(at, 0.0), length - 1.0), extent);
  // A little beyond the picture its edge counts, farther away nothing does.
  taps.inside = unsqueeze(logical_and(ge(at, -1.0), le(at, length)), {0});
  return taps;
}

// What all ways to pool have in common.
struct Regions {
  Side vertical, horizontal;
  Picture picture;
  Var pictures;  // i64[R]
  bool largest;
  DType dtype;

  Ints tap_axes() const { return picture.channels_first ? Ints{1, 2} : Ints{0, 1}; }
  Var pooled(Var weighted) const {
    return largest ? reduce_max(weighted, tap_axes()) : reduce_sum(weighted, tap_axes());
  }
  Picture inside(Body& body) const {
    return {body.outside(picture.places),
            picture.channels_first,
            body.outside(picture.nowhere),
            {body.outside(picture.extents[0]), body.outside(picture.extents[1])}};
  }
};

// As many samples in each bin of each region: all samples are taps, one region a turn, so that what is read stays in
// caches. Answers [R, bins, bins, C], channels before the bins where they are first.
Var pooled_by_region(Node n, const Regions& r, std::int64_t ratio) {
  const std::vector<Var> scanned{r.vertical.start, r.vertical.size, r.horizontal.start, r.horizontal.size, r.pictures};
  Body body;
  std::vector<Var> given;
  for (const Var& x : scanned) given.push_back(body.argument({x.dtype(), {}}));
  const Picture picture = r.inside(body);
  const auto samples = static_cast<double>(ratio);
  const Var sample = iota(*given[0].graph, given[0].dtype(), Shape{ratio, 1}, 0);
  const auto taps = [&](const Side& side, Var start, Var size, Var extent, std::int64_t before, std::int64_t behind) {
    Taps t = taps_of(side, start, size, number(size, samples), sample, extent);
    t.inside = broadcast_to(t.inside, t.index.shape());
    t.weight = r.largest ? t.weight : t.weight / samples;
    const Shape shape{2 * ratio, before, behind};
    return Taps{reshape(t.index, shape), reshape(t.weight, shape), reshape(t.inside, shape)};
  };
  const Taps both[] = {taps(r.vertical, given[0], given[1], picture.extents[0], r.vertical.bins, 1),
                       taps(r.horizontal, given[2], given[3], picture.extents[1], 1, r.horizontal.bins)};
  const GraphPtr turn = body.answering({r.pooled(weighted_places(picture, both, given[4], r.dtype))});
  return n.settled(scan(turn, {}, scanned, body.captured()).front());
}

// As many samples as the size of a region asks for: one sample of all bins of all regions a turn, until the region that
// wants most has them. Answers [R, bins, bins, C], or [C, R, bins, bins] where channels are first.
Var pooled_by_sample(Node n, const Regions& r) {
  const auto most = [](const Side& side) { return cast(maximum(reduce_max(side.samples), 0.0), DType::i64); };
  const Var across = most(r.horizontal), turns = across * most(r.vertical);
  std::vector<Var> shape{extent_of(r.pictures, 0), number_of(n.graph, r.vertical.bins),
                         number_of(n.graph, r.horizontal.bins)};
  const Var channels = extent_of(r.picture.places, r.picture.channels_first ? 0 : 1);
  shape.insert(r.picture.channels_first ? shape.begin() : shape.end(), channels);
  const double lowest = -std::numeric_limits<double>::infinity();
  const Var nothing = filled(n, scalar(n.graph, r.dtype, r.largest ? lowest : 0), vector_of(shape));

  Body condition, body;
  const std::vector<Var> carried{number_of(n.graph, 0), turns, nothing};
  std::vector<Var> asked, given;
  for (const Var& x : carried) {
    asked.push_back(condition.argument(x.type()));
    given.push_back(body.argument(x.type()));
  }
  const Var at = given[0], so_far = given[2];

  const Var width = body.outside(across);
  const Picture picture = r.inside(body);
  Var counts;
  const auto taps = [&](const Side& side, Var sample, Var extent, std::int64_t other) {
    const Var number_of_sample = cast(sample, side.size.dtype()), samples = body.outside(side.samples);
    const auto per_region = [&](Var x) { return unsqueeze(body.outside(x), {1}); };
    const Var here = lt(number_of_sample, samples);
    counts = counts ? logical_and(counts, here) : here;
    const Taps t =
        taps_of(side, per_region(side.start), per_region(side.size), unsqueeze(samples, {1}), number_of_sample, extent);
    return Taps{unsqueeze(t.index, {other}), unsqueeze(t.weight, {other}), unsqueeze(t.inside, {other})};
  };
  const Taps both[] = {taps(r.vertical, div(at, width), picture.extents[0], 3),
                       taps(r.horizontal, rem(at, width), picture.extents[1], 2)};
  const Var numbers = unsqueeze(body.outside(r.pictures), {1, 2});
  const Var value = r.pooled(weighted_places(picture, both, numbers, r.dtype));
  const Var region = unsqueeze(counts, r.picture.channels_first ? Ints{1, 2} : Ints{1, 2, 3});
  const GraphPtr one =
      body.answering({at + 1.0, given[1], select(region, r.largest ? maximum(so_far, value) : so_far + value, so_far)});
  for (const Var& captured : body.captured()) condition.argument(captured.type());
  const GraphPtr goes_on = condition.answering({lt(asked[0], asked[1])});
  const Var sum = while_loop(goes_on, one, carried, body.captured()).back();

  const Var samples = r.vertical.samples * r.horizontal.samples;
  const auto per_region = [&](Var each) {
    return unsqueeze(each, r.picture.channels_first ? Ints{1, 2} : Ints{1, 2, 3});
  };
  if (r.largest) return select(per_region(gt(samples, 0.0)), sum, number(sum, 0));
  return sum / cast(per_region(maximum(samples, 1.0)), r.dtype);
}

// For each region [x0, y0, x1, y1] of picture batch_indices[r] the average, or the maximum, of what is read at some
// places in each bin.
Results roi_align(Node n) {
  const Var x = n.in(0), regions = cast(n.in(1), dtype_info(n.in(1).dtype()).compute);
  if (x.rank() != 4 || regions.rank() != 2) n.invalid("regions " + regions.shape().str() + " of " + x.shape().str());
  const std::string mode = n.text("mode", "avg");
  if (mode != "avg" && mode != "max") n.invalid("mode '" + mode + "'");
  const std::string coordinates = n.text("coordinate_transformation_mode", "half_pixel");
  if (coordinates != "half_pixel" && coordinates != "output_half_pixel")
    n.invalid("coordinate_transformation_mode '" + coordinates + "'");
  const bool half_pixel = n.version() >= 16 && coordinates == "half_pixel";
  const Side vertical = side_of(n, column(regions, 1), column(regions, 3), "output_height", half_pixel);
  const Side horizontal = side_of(n, column(regions, 0), column(regions, 2), "output_width", half_pixel);
  const Regions r{vertical,
                  horizontal,
                  picture_of(n, x, Outside::zero),
                  cast(n.in(2), DType::i64),
                  mode == "max",
                  dtype_info(x.dtype()).compute};
  const std::int64_t ratio = n.integer("sampling_ratio", 0);
  Var y;
  if (ratio > 0) {
    y = pooled_by_region(n, r, ratio);
    if (!r.picture.channels_first) y = transpose(y, {0, 3, 1, 2});
  } else {
    y = pooled_by_sample(n, r);
    y = transpose(y, r.picture.channels_first ? Ints{1, 0, 2, 3} : Ints{0, 3, 1, 2});
  }
  return {cast(y, x.dtype())};
}

// [center 0, center 1, size 0, size 1] as corners. A box of less than no size is as one of none: it covers nothing.
Var corners_of(Var boxes) {
  const auto half = [&](std::int64_t from) { return slice(boxes, {0, 0, from}, {kSliceToEnd, kSliceToEnd, from + 2}); };
  const Var center = half(0), reach = maximum(half(2), 0.0) / 2.0;
  return concat(std::vector<Var>{center - reach, center + reach}, 2);
}

// The rows where `mask` holds, in their order: rows [n, k], mask [n].
Var compacted(Node n, Var rows, Var mask, Var count) {
  const Var length = extent_of(rows, 0);
  const Var place = select(mask, cumsum(cast(mask, DType::i64), 0) - 1.0, length);
  const Var room = filled(n, number(rows, 0), vector_of(std::vector<Var>{length + 1.0, extent_of(rows, 1)}));
  const Var moved = scatter(room, place, rows, 0, Reduction::set);
  return slice_by(moved, vector_of(n.graph, {0}), reshape(count, Shape{1}), vector_of(n.graph, {1}), {0});
}

// [batch, class, box] of every box that is kept. The number of boxes of a class is an input, and nothing without it.
Results non_max_suppression_operator(Node n) {
  const Var scores = n.in(1);
  Var boxes = n.in(0);
  if (boxes.rank() != 3 || scores.rank() != 3)
    n.invalid("boxes " + boxes.shape().str() + " with scores " + scores.shape().str());
  if (n.integer("center_point_box", 0) != 0) boxes = corners_of(boxes);
  const auto threshold = [&](std::size_t i, double otherwise) {
    return n.has(i) && n.in(i).shape() != Shape{0} ? cast(reshape(n.in(i), {}), boxes.dtype())
                                                   : number(boxes, otherwise);
  };
  const bool limited = n.has(2) && n.in(2).shape() != Shape{0};
  const Var limit = n.settled(limited ? cast(reshape(n.in(2), {}), DType::i64) : number_of(n.graph, 0));
  const ConstantData* const told = n.graph.constant(limit.id);
  const std::int64_t most = told == nullptr ? kUnknown : std::max<std::int64_t>(element_as_int(*told, 0), 0);
  const double lowest = -std::numeric_limits<double>::infinity();
  const Suppression kept = non_max_suppression(boxes, scores, threshold(3, 0), threshold(4, lowest), most);
  const Var counts = told != nullptr ? kept.counts : minimum(kept.counts, maximum(limit, 0.0));

  const Var of_class = count_up(n, extent_of(kept.indices, 2), DType::i64);  // [k]
  const Var mask = lt(of_class, unsqueeze(counts, {2}));
  const auto along = [&](int axis, Ints others) {
    return unsqueeze(count_up(n, extent_of(scores, axis), DType::i64), others) + kept.indices * 0.0;
  };
  std::vector<Var> columns{along(0, {1, 2}), along(1, {0, 2}), kept.indices};
  for (Var& c : columns) c = reshaped(c, {kUnknown, 1});
  return {compacted(n, n.settled(concat(columns, 1)), reshaped(mask, {kUnknown}), reduce_sum(counts))};
}

Results non_max_suppression_row(Node n) {
  const Suppression kept = non_max_suppression(n.in(0), n.in(1), n.in(2), n.in(3), n.integer("most", kUnknown));
  return {kept.indices, kept.counts};
}

constexpr Operator kOperators[] = {
    {"NonMaxSuppression", 10, kAny, non_max_suppression_operator},
    {"RoiAlign", 10, kAny, roi_align},
    {"non_max_suppression", 1, 1, non_max_suppression_row, kRowDomain},
};

}  // namespace

std::span<const Operator> region_operators() { return kOperators; }

}  // namespace ml::onnx
