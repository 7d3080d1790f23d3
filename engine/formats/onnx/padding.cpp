#include "engine/formats/onnx/padding.h"

#include <algorithm>
#include <limits>

#include "engine/graph/build_dynamic.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;

std::optional<std::int64_t> known_amount(Node n, Var amount) {
  const ConstantData* const value = n.graph.constant(amount.id);
  return value == nullptr ? std::nullopt : std::optional(element_as_int(*value, 0));
}

Var at_most_zero(Var amount) { return minimum(amount, number_of(*amount.graph, 0)); }
Var at_least_zero(Var amount) { return maximum(amount, number_of(*amount.graph, 0)); }

// x without what negative amounts take away.
Var cropped(Node n, Var x, std::span<const Padding> amounts) {
  constexpr std::int64_t kEnd = std::numeric_limits<std::int64_t>::max();
  std::vector<Var> from, to;
  Ints axes;
  for (const Padding& p : amounts) {
    const std::optional<std::int64_t> low = known_amount(n, p.low), high = known_amount(n, p.high);
    if (low && *low >= 0 && high && *high >= 0) continue;
    axes.push_back(p.axis);
    from.push_back(neg(at_most_zero(p.low)));
    to.push_back(select(lt(p.high, 0.0), p.high, number_of(n.graph, kEnd)));
  }
  if (axes.empty()) return x;
  const Ints ones(axes.size(), 1);
  return n.settled(slice_by(x, vector_of(from), vector_of(to), vector_of(n.graph, ones), axes));
}

// One constant block before and one behind.
Var with_blocks(Node n, Var x, const Padding& p, Var value) {
  const auto block = [&](Var length) {
    std::vector<Var> shape;
    for (int axis = 0; axis < x.rank(); ++axis)
      shape.push_back(axis == p.axis ? at_least_zero(length) : extent_of(x, axis));
    return filled(n, value, vector_of(shape));
  };
  return n.settled(concat(std::vector<Var>{block(p.low), x, block(p.high)}, p.axis));
}

// Every position reads one of x.
Var with_copies(Node n, Var x, const Padding& p, const std::string& mode) {
  const Var low = at_least_zero(p.low), extent = extent_of(x, p.axis), last = extent - 1.0;
  const Var at = count_up(n, low + extent + at_least_zero(p.high), DType::i64) - low;
  Var place;
  if (mode == "edge") {
    place = minimum(maximum(at, 0.0), last);
  } else if (mode == "reflect") {
    const Var period = maximum(last * 2.0, 1.0), along = rem(abs(at), period);
    place = minimum(along, abs(last * 2.0 - along));
  } else if (mode == "wrap") {
    const Var along = rem(at, extent);
    place = select(lt(along, 0.0), along + extent, along);
  } else {
    n.invalid("mode '" + mode + "'");
  }
  return n.settled(gather(x, n.settled(place), p.axis));
}

}  // namespace

Var padded(Node n, Var x, std::span<const Padding> amounts, const std::string& mode, Var value) {
  std::vector<Padding> left;
  Ints low(static_cast<std::size_t>(x.rank()), 0), high = low;  // what is constant and known
  const bool constant = mode == "constant";
  const ConstantData* const element = constant ? n.graph.constant(value.id) : nullptr;
  std::vector<Padding> settled;
  for (const Padding& p : amounts) settled.push_back({p.axis, n.settled(p.low), n.settled(p.high)});
  x = cropped(n, x, settled);
  for (const Padding& p : settled) {
    const auto axis = static_cast<std::size_t>(p.axis);
    const std::optional<std::int64_t> before = known_amount(n, p.low), behind = known_amount(n, p.high);
    if (before && behind && *before <= 0 && *behind <= 0) continue;
    if (before && behind && element != nullptr) {
      low[axis] = std::max<std::int64_t>(*before, 0);
      high[axis] = std::max<std::int64_t>(*behind, 0);
    } else {
      left.push_back(p);
    }
  }
  if (low != Ints(low.size(), 0) || high != Ints(high.size(), 0)) x = pad(x, low, high, element_as_double(*element, 0));
  for (const Padding& p : left) x = constant ? with_blocks(n, x, p, value) : with_copies(n, x, p, mode);
  return x;
}

}  // namespace ml::onnx
