// Operators whose addresses come from tensors.
#include <algorithm>

#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

Results gather_operator(Node n) { return {gather(n.in(0), n.in(1), n.integer("axis", 0))}; }
Results gather_elements_operator(Node n) { return {gather_elements(n.in(0), n.in(1), n.integer("axis", 0))}; }

Reduction reduction_of(Node n, bool has_extrema = true) {
  const std::string reduction = n.text("reduction", "none");
  if (reduction == "none") return Reduction::set;
  if (reduction == "add") return Reduction::add;
  if (reduction == "mul") return Reduction::mul;
  if (reduction == "max" && has_extrema) return Reduction::max;
  if (reduction == "min" && has_extrema) return Reduction::min;
  n.invalid("reduction '" + reduction + "'");
}
Results scatter_row(Node n) { return {scatter(n.in(0), n.in(1), n.in(2), n.integer("axis", 0), reduction_of(n))}; }

// Scatter is the name that ScatterElements had before operator set 11.
Results scatter_elements_operator(Node n) {
  return {scatter_elements(n.in(0), n.in(1), n.in(2), n.integer("axis", 0), reduction_of(n, n.version() >= 18))};
}

Results transpose_by_row(Node n) { return {transpose_by(n.in(0), n.in(1))}; }

// Tuples of indices, the last dimension of `indices`, as places in the dimensions of x from `first` on, seen as one of
// `places` elements. A tuple with an index that is out of range is one itself, whatever the others are.
struct Places {
  Var index;   // one for each tuple
  Var places;  // i64[]
};
Places places_of(Node n, Var x, Var indices, int first) {
  const int last = indices.rank() - 1;
  if (last < 0 || indices.shape()[last] == kUnknown || indices.shape()[last] > x.rank() - first)
    n.invalid("indices " + indices.shape().str() + " into " + x.shape().str() +
              (first > 0 ? " behind " + std::to_string(first) + " dimensions" : "") + ": too many for each element");
  const Var wide = cast(indices, DType::i64), zero = number_of(n.graph, 0);
  Places result{expand_to(zero, slice(shape_of(wide), {0}, {last})), number_of(n.graph, 1)};
  Var outside;
  for (std::int64_t k = 0; k < indices.shape()[last]; ++k) {
    Ints from(static_cast<std::size_t>(last) + 1, 0), to(from.size(), kSliceToEnd);
    from.back() = k;
    to.back() = k + 1;
    const Var index = squeeze(slice(wide, from, to), {last}), extent = extent_of(x, first + static_cast<int>(k));
    const Var wrong = logical_or(lt(index, neg(extent)), ge(index, extent));
    outside = outside ? logical_or(outside, wrong) : wrong;
    result.index = result.index * extent + select(lt(index, zero), index + extent, index);
    result.places = result.places * extent;
  }
  if (outside) result.index = select(outside, result.places, result.index);
  return result;
}

// x with the dimensions [first, last) as one, and those behind them as they are.
Var joined(Node n, Var x, int first, int last) {
  std::vector<Var> extents = extents_of(x);
  const auto begin = extents.begin() + first, end = extents.begin() + last;
  const Var one = product(n.graph, std::span(begin, end));
  extents.insert(extents.erase(begin, end), one);
  return shaped(n, x, extents);
}

// Batch dimensions are in front of x and of indices alike: element i of the batch finds its places behind those of the
// elements before it.
Results gather_nd(Node n) {
  const Var x = n.in(0), indices = n.in(1);
  const auto batch = static_cast<int>(n.integer("batch_dims", 0));
  if (batch < 0 || batch >= std::min(x.rank(), indices.rank()))
    n.invalid("batch_dims = " + std::to_string(batch) + " of " + x.shape().str() + " and " + indices.shape().str());
  Places at = places_of(n, x, indices, batch);
  if (batch > 0) {
    const std::vector<Var> extents = extents_of(indices);
    const std::span<const Var> outer = std::span(extents).first(static_cast<std::size_t>(batch));
    const Var count = product(n.graph, outer);
    std::vector<Var> each(outer.begin(), outer.end());
    each.insert(each.end(), static_cast<std::size_t>(indices.rank() - 1 - batch), number_of(n.graph, 1));
    const Var number = shaped(n, count_up(n, n.settled(count), DType::i64), each);
    const Var inside = lt(at.index, at.places);
    at.index = select(inside, number * at.places + at.index, count * at.places);
  }
  const int behind = batch + static_cast<int>(indices.shape().at(-1));
  return {gather(joined(n, x, 0, behind), n.settled(at.index), 0)};
}

Results scatter_nd(Node n) {
  const Var x = n.in(0), indices = n.in(1), updates = n.in(2);
  const Places at = places_of(n, x, indices, 0);
  const int depth = static_cast<int>(indices.shape().at(-1)), count = indices.rank() - 1;
  if (updates.rank() != count + x.rank() - depth)
    n.invalid("updates " + updates.shape().str() + " of " + x.shape().str() + " at " + indices.shape().str());
  const Var index = n.settled(reshape(at.index, Shape{kUnknown}));
  const Var rows =
      scatter(joined(n, x, 0, depth), index, joined(n, updates, 0, count), 0, reduction_of(n, n.version() >= 18));
  return {shaped(n, rows, extents_of(x))};
}

// Of each sequence of the batch the first sequence_lens elements backwards, what is behind them as it is.
Results reverse_sequence(Node n) {
  const Var x = n.in(0);
  const std::int64_t batch = n.integer("batch_axis", 1), time = n.integer("time_axis", 0);
  if (x.rank() < 2 || batch < 0 || batch > 1 || time != 1 - batch)
    n.invalid("batch_axis " + std::to_string(batch) + " and time_axis " + std::to_string(time) + " of " +
              x.shape().str());
  const auto along = [&x](Var line, std::int64_t axis) {
    Ints others;
    for (int i = 0; i < x.rank(); ++i) {
      if (i != axis) others.push_back(i);
    }
    return unsqueeze(line, others);
  };
  const Var length = along(cast(n.in(1), DType::i64), batch);
  const Var at = along(count_up(n, extent_of(x, static_cast<int>(time)), DType::i64), time);
  const Var from = select(lt(at, length), length - 1.0 - at, at);
  return {gather_elements(x, n.settled(expand_to(from, shape_of(x))), time)};
}

// Element b of the batch writes `updates` along the axis from write_indices[b] on, around the end where it is circular.
Results tensor_scatter(Node n) {
  const Var x = n.in(0), updates = n.in(1);
  const int axis = normalize_axis(n.integer("axis", -2), x.rank(), "axis");
  const std::string mode = n.text("mode", "linear");
  if (axis == 0) n.invalid("the axis cannot be that of the batch");
  if (updates.rank() != x.rank()) n.invalid("updates " + updates.shape().str() + " of " + x.shape().str());
  if (mode != "linear" && mode != "circular") n.invalid("mode '" + mode + "'");
  Ints behind;
  for (int i = axis + 1; i < x.rank(); ++i) behind.push_back(i - axis);
  Var at = count_up(n, extent_of(updates, axis), DType::i64);
  if (!behind.empty()) at = unsqueeze(at, behind);
  if (n.has(2)) {
    Ints others;
    for (int i = 1; i < x.rank(); ++i) others.push_back(i);
    at = at + unsqueeze(cast(n.in(2), DType::i64), others);
  }
  if (mode == "circular") at = rem(at, extent_of(x, axis));
  return {scatter_elements(x, n.settled(expand_to(at, shape_of(updates))), updates, axis, Reduction::set)};
}

// k is an attribute before operator set 10 and an input since. Before 11 there were only the largest.
Results top_k_operator(Node n) {
  const Var x = n.in(0);
  const bool largest = n.integer("largest", 1) != 0;
  const int axis = normalize_axis(n.integer("axis", -1), x.rank(), "axis");
  const Var k = n.version() < 10 ? number_of(n.graph, n.integer("k", 0)) : number_input(n, 1);
  if (const std::optional<std::int64_t> value = known_integer(k)) {
    const auto [values, indices] = top_k(x, *value, axis, largest);
    return {values, indices};
  }
  const auto [values, indices] = sort(x, axis, largest);
  const Var zero = number_of(n.graph, 0);
  return {part_of(n, values, axis, zero, k), part_of(n, indices, axis, zero, k)};
}

constexpr Operator kOperators[] = {
    {"Gather", 1, kAny, gather_operator},
    {"GatherElements", 11, kAny, gather_elements_operator},
    {"GatherND", 11, kAny, gather_nd},
    {"ReverseSequence", 10, kAny, reverse_sequence},
    {"Scatter", 9, 10, scatter_elements_operator},
    {"ScatterElements", 11, kAny, scatter_elements_operator},
    {"ScatterND", 11, kAny, scatter_nd},
    {"TensorScatter", 24, kAny, tensor_scatter},
    {"TopK", 1, kAny, top_k_operator},
    {"scatter", 1, 1, scatter_row, kRowDomain},
    {"transpose_by", 1, 1, transpose_by_row, kRowDomain},
};

}  // namespace

std::span<const Operator> index_operators() { return kOperators; }

}  // namespace ml::onnx
