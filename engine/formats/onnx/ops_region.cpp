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
  Var samples;      // [R], floating
};

Side side_of(Node n, Var from, Var to, const char* bins_attribute, bool half_pixel) {
  constexpr std::int64_t kMost = 1 << 15;
  const std::int64_t bins = n.integer(bins_attribute, 1), ratio = n.integer("sampling_ratio", 0);
  if (bins < 1 || bins > kMost || ratio > kMost)
    n.invalid(std::string(bins_attribute) + " " + std::to_string(bins) + " and sampling_ratio " +
              std::to_string(ratio));
  const double scale = n.number("spatial_scale", 1), shift = half_pixel ? 0.5 : 0;
  const Var start = from * scale - shift;
  Var length = (to * scale - shift) - start;
  if (!half_pixel) length = maximum(length, 1.0);  // a malformed region has one element
  const Var size = length / static_cast<double>(bins);
  return {bins, start, size, ratio > 0 ? number(from, static_cast<double>(ratio)) : ceil(size)};
}

// The taps of sample number `sample` (i64[]) of every bin, [2, R, bins], and which regions have that many, [R].
struct Sampled {
  Taps taps;
  Var counts;
};
Sampled sample_of(Body& body, const Side& side, Var extent, Var sample) {
  const auto per_region = [&](Var x) { return x.rank() == 0 ? x : unsqueeze(x, {1}); };
  const Var size = body.outside(side.size), samples = body.outside(side.samples);
  const Var bin = iota(*sample.graph, size.dtype(), Shape{side.bins}, 0);
  const Var offset = (cast(sample, size.dtype()) + 0.5) * size / samples;
  const Var at = per_region(body.outside(side.start)) + bin * per_region(size) + per_region(offset);
  const Var length = cast(extent, size.dtype()), last = length - 1.0;
  Taps taps = linear_taps(minimum(maximum(at, 0.0), last), extent);
  // A little beyond the picture its edge counts, farther away nothing does.
  taps.inside = unsqueeze(logical_and(ge(at, -1.0), le(at, length)), {0});
  return {taps, lt(cast(sample, size.dtype()), samples)};
}

// For each region [x0, y0, x1, y1] of picture batch_indices[r] the average, or the maximum, of what is read at some
// places in each bin. One turn of a loop reads one place of every bin, which bounds the memory.
Results roi_align(Node n) {
  const Var x = n.in(0), regions = cast(n.in(1), dtype_info(n.in(1).dtype()).compute);
  if (x.rank() != 4 || regions.rank() != 2) n.invalid("regions " + regions.shape().str() + " of " + x.shape().str());
  const std::string mode = n.text("mode", "avg");
  if (mode != "avg" && mode != "max") n.invalid("mode '" + mode + "'");
  const std::string coordinates = n.text("coordinate_transformation_mode", "half_pixel");
  if (coordinates != "half_pixel" && coordinates != "output_half_pixel")
    n.invalid("coordinate_transformation_mode '" + coordinates + "'");
  const bool half_pixel = n.version() >= 16 && coordinates == "half_pixel", largest = mode == "max";
  const Side vertical = side_of(n, column(regions, 1), column(regions, 3), "output_height", half_pixel);
  const Side horizontal = side_of(n, column(regions, 0), column(regions, 2), "output_width", half_pixel);
  const Picture picture = picture_of(n, x);
  const Var pictures = unsqueeze(cast(n.in(2), DType::i64), {1, 2});
  const DType dtype = dtype_info(x.dtype()).compute;
  const double lowest = -std::numeric_limits<double>::infinity();
  const std::vector<Var> shape{extent_of(regions, 0), number_of(n.graph, vertical.bins),
                               number_of(n.graph, horizontal.bins), extent_of(x, 1)};
  const Var nothing = filled(n, scalar(n.graph, dtype, largest ? lowest : 0), vector_of(shape));  // [R, bins, bins, C]

  const std::int64_t ratio = n.integer("sampling_ratio", 0);
  const auto most = [&](const Side& side) { return cast(maximum(reduce_max(side.samples), 0.0), DType::i64); };
  const Var across = ratio > 0 ? number_of(n.graph, ratio) : most(horizontal);
  const auto turn = [&](Body& body, Var number_of_sample, Var so_far) {
    const Var width = body.outside(across);
    const Picture inner{body.outside(picture.rows),
                        {body.outside(picture.extents[0]), body.outside(picture.extents[1])}};
    const Sampled rows = sample_of(body, vertical, inner.extents[0], div(number_of_sample, width));
    const Sampled columns = sample_of(body, horizontal, inner.extents[1], rem(number_of_sample, width));
    const auto spread = [](Var of, std::int64_t axis) { return of ? unsqueeze(of, {axis}) : of; };
    const Taps taps[] = {
        {spread(rows.taps.index, 3), spread(rows.taps.weight, 3), spread(rows.taps.inside, 3)},
        {spread(columns.taps.index, 2), spread(columns.taps.weight, 2), spread(columns.taps.inside, 2)}};
    const Var parts = weighted_rows(inner, taps, body.outside(pictures), dtype);
    const Var value = largest ? maximum(so_far, reduce_max(parts, {0, 1})) : so_far + reduce_sum(parts, {0, 1});
    const Var counts = logical_and(rows.counts, columns.counts);
    return select(counts.rank() == 0 ? counts : unsqueeze(counts, {1, 2, 3}), value, so_far);
  };

  Var y;
  Body body;
  if (ratio > 0) {
    const Var numbers = iota(n.graph, DType::i64, Shape{ratio * ratio}, 0);
    const Var so_far = body.argument(nothing.type()), sample = body.argument({DType::i64, {}});
    const GraphPtr turns = body.answering({turn(body, sample, so_far)});
    y = scan(turns, std::vector<Var>{nothing}, std::vector<Var>{numbers}, body.captured()).front();
  } else {
    // As many turns as the region that wants most has samples.
    const Var turns = across * most(vertical);
    const Var sample = body.argument({DType::i64, {}}), so_far = body.argument(nothing.type());
    const Var last = body.outside(turns);
    const GraphPtr one = body.answering({sample + 1.0, turn(body, sample, so_far)});
    Body condition;
    const Var at = condition.argument({DType::i64, {}});
    condition.argument(nothing.type());
    std::vector<Var> limits;
    for (const Var& captured : body.captured()) limits.push_back(condition.argument(captured.type()));
    const Var limit = last.graph->constant(last.id) != nullptr ? condition.outside(turns) : limits.front();
    const GraphPtr goes_on = condition.answering({lt(at, limit)});
    y = while_loop(goes_on, one, std::vector<Var>{number_of(n.graph, 0), nothing}, body.captured()).back();
  }
  const Var samples = vertical.samples * horizontal.samples, counted = gt(samples, 0.0);
  const auto per_region = [](Var each) { return each.rank() == 0 ? each : unsqueeze(each, {1, 2, 3}); };
  if (largest) y = select(per_region(counted), y, number(y, 0));
  if (!largest) y = y / cast(per_region(maximum(samples, 1.0)), dtype);
  return {cast(transpose(y, {0, 3, 1, 2}), x.dtype())};
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

constexpr Operator kOperators[] = {
    {"NonMaxSuppression", 10, kAny, non_max_suppression_operator},
    {"RoiAlign", 10, kAny, roi_align},
};

}  // namespace

std::span<const Operator> region_operators() { return kOperators; }

}  // namespace ml::onnx
