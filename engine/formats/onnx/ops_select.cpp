// Operators whose results have as many elements as the data says: everything is computed for the most there can be, and
// then cut to what there is.
#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_control.h"
#include "engine/graph/build_dynamic.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

Var number(Node n, std::int64_t value) { return number_of(n.graph, value); }

// `value` (i64) for each element of a vector of that extent.
Var spread(Node n, Var value, Var extent) { return filled(n, value, vector_of(std::vector<Var>{extent})); }

Var flat(Var x) { return reshape(x, Shape{kUnknown}); }

// The positions of what is true in a vector of flags. Each is written to its place among them, those of all others to
// one place behind.
Var true_positions(Node n, Var flags) {
  const Var ones = cast(flags, DType::i64), extent = extent_of(flags, 0);
  const Var place = select(flags, cumsum(ones, 0) - 1.0, extent);
  const Var room = spread(n, number(n, 0), n.settled(extent + 1.0));
  const Var all = scatter(room, place, count_up(n, extent, DType::i64), 0, Reduction::set);
  return part_of(n, all, 0, number(n, 0), n.settled(reduce_sum(ones)));
}

// Row d of the result holds the positions along dimension d.
Results non_zero(Node n) {
  const Var x = n.in(0);
  const Var at = true_positions(n, flat(ne(x, 0.0)));
  std::vector<Var> rows;
  Var behind = number(n, 1);  // elements of the dimensions behind
  for (int axis = x.rank() - 1; axis >= 0; --axis) {
    const Var extent = extent_of(x, axis);
    rows.insert(rows.begin(), unsqueeze(rem(at / behind, extent), {0}));
    behind = behind * extent;
  }
  if (rows.empty()) return {filled(n, number(n, 0), vector_of(std::vector<Var>{number(n, 0), extent_of(at, 0)}))};
  return {concat(rows, 0)};
}

Results compress(Node n) {
  const bool along = n.has_attribute("axis");
  const Var x = along ? n.in(0) : flat(n.in(0));
  const int axis = along ? normalize_axis(n.integer("axis", 0), x.rank(), "axis") : 0;
  if (n.in(1).rank() != 1) n.invalid("a vector of conditions is needed, not " + n.in(1).shape().str());
  return {gather(x, true_positions(n, n.in(1)), axis)};
}

// What can be sorted and told apart.
Var ordered(Var x) { return x.dtype() == DType::boolean ? cast(x, DType::u8) : x; }

// The order of rows [count, width], by their first columns first: sorting is stable, so the last column is sorted by
// first.
Var row_order(Node n, Var rows) {
  auto body = std::make_shared<Graph>();
  const Shape line{rows.shape()[0]};
  const Var order = input(*body, "order", DType::i64, line), column = input(*body, "column", rows.dtype(), line);
  output("order", gather(order, sort(gather(column, order, 0), 0).second, 0));
  const Var carried[] = {count_up(n, extent_of(rows, 0), DType::i64)}, scanned[] = {transpose(rows, {1, 0})};
  return scan(std::move(body), carried, scanned, {}, {.reverse = true})[0];
}

// Results: what is different, where it is first, what each is, how often each is there.
Results unique(Node n) {
  const bool along = n.has_attribute("axis");
  const Var x = along ? n.in(0) : flat(n.in(0));
  const int axis = along ? normalize_axis(n.integer("axis", 0), x.rank(), "axis") : 0;
  const Var extent = extent_of(x, axis), zero = number(n, 0), at = count_up(n, extent, DType::i64);
  Var keys = ordered(x), order;
  if (x.rank() == 1) {
    order = sort(keys, 0).second;
  } else {
    Ints moved{axis};
    std::vector<Var> others;
    for (int i = 0; i < x.rank(); ++i) {
      if (i == axis) continue;
      moved.push_back(i);
      others.push_back(extent_of(x, i));
    }
    keys = shaped(n, transpose(keys, moved), std::vector<Var>{extent, n.settled(product(n.graph, others))});
    order = row_order(n, keys);
  }
  // In order, equals stand together: a group begins where an element differs from the one before it.
  const Var sorted = gather(keys, order, 0), before = gather(sorted, maximum(at - 1.0, 0.0), 0);
  Var differs = ne(sorted, before);
  if (is_floating(keys.dtype()))
    differs = logical_and(differs, logical_not(logical_and(is_nan(sorted), is_nan(before))));
  if (keys.rank() == 2) differs = gt(reduce_sum(cast(differs, DType::i64), {1}), 0.0);
  const Var begins = cast(logical_or(differs, eq(at, 0.0)), DType::i64);
  const Var group = cumsum(begins, 0) - 1.0, count = n.settled(reduce_sum(begins));
  // One entry for each group, and then as many as there is room for.
  const Var none = spread(n, zero, extent);
  Var first = scatter(spread(n, extent, extent), group, order, 0, Reduction::min);
  Var counts = scatter_add(none, group, spread(n, number(n, 1), extent), 0);
  Var inverse = scatter(none, order, group, 0, Reduction::set);
  if (n.integer("sorted", 1) == 0) {
    const auto [earliest, by_first] = sort(first, 0);
    first = earliest;
    counts = gather(counts, by_first, 0);
    inverse = gather(scatter(none, by_first, at, 0, Reduction::set), inverse, 0);
  }
  first = part_of(n, first, 0, zero, count);
  return {gather(x, first, axis), first, inverse, part_of(n, counts, 0, zero, count)};
}

constexpr Operator kOperators[] = {
    {"Compress", 9, kAny, compress},
    {"NonZero", 9, kAny, non_zero},
    {"Unique", 11, kAny, unique},
};

}  // namespace

std::span<const Operator> select_operators() { return kOperators; }

}  // namespace ml::onnx
