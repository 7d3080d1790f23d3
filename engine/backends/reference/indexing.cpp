#include "engine/graph/ops/indexing.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "engine/backends/reference/kernel.h"

namespace ml::reference {
namespace {

// The place an index means on an axis of `extent`: negative ones count from the end. None, and the error flag, when it
// is out of range.
std::optional<std::int64_t> resolve(const Call& call, std::int64_t index, std::int64_t extent) {
  const std::int64_t place = index < 0 ? index + extent : index;
  if (place >= 0 && place < extent) return place;
  call.index_error = true;
  return std::nullopt;
}

// Calls f(picked, element) for every element of indices.shape in the place of the axis: its position there and in x.
template <class F>
void each_slice(const Call& call, std::int64_t axis, F f) {
  const AxisView view(call.inputs[0].shape(), axis);
  const std::vector<std::int64_t> indices = load<std::int64_t>(call.inputs[1]);
  const auto count = static_cast<std::int64_t>(indices.size());
  for (std::int64_t i = 0; i < count; ++i) {
    const auto place = resolve(call, indices[static_cast<std::size_t>(i)], view.extent);
    if (!place) continue;
    for (std::int64_t outer = 0; outer < view.outer; ++outer) {
      for (std::int64_t inner = 0; inner < view.inner; ++inner) {
        f(static_cast<std::size_t>((outer * count + i) * view.inner + inner), view.position(outer, *place, inner));
      }
    }
  }
}

// The same where each element has its own index.
template <class F>
void each_element(const Call& call, std::int64_t axis, F f) {
  const Shape& shape = call.inputs[0].shape();
  const std::vector<std::int64_t> indices = load<std::int64_t>(call.inputs[1]);
  Strides strides = dense_strides(shape);
  const std::int64_t along = std::exchange(strides[static_cast<std::size_t>(axis)], 0);
  walk(call.inputs[1].shape(), strides, [&](std::int64_t picked, std::int64_t offset) {
    const auto place = resolve(call, indices[static_cast<std::size_t>(picked)], shape[static_cast<int>(axis)]);
    if (place) f(static_cast<std::size_t>(picked), static_cast<std::size_t>(offset + *place * along));
  });
}

void gather(const Call& call) {
  const std::vector<std::uint64_t> x = load_bits(call.inputs[0]);
  std::vector<std::uint64_t> y(static_cast<std::size_t>(call.outputs[0].elements()));
  each_slice(call, call.as<AxisAttributes>().axis,
             [&](std::size_t picked, std::size_t element) { y[picked] = x[element]; });
  store_bits(call.outputs[0], y);
}

void gather_elements(const Call& call) {
  const std::vector<std::uint64_t> x = load_bits(call.inputs[0]);
  std::vector<std::uint64_t> y(static_cast<std::size_t>(call.outputs[0].elements()));
  each_element(call, call.as<AxisAttributes>().axis,
               [&](std::size_t picked, std::size_t element) { y[picked] = x[element]; });
  store_bits(call.outputs[0], y);
}

template <class T>
T reduced(Reduction reduction, T element, T update) {
  switch (reduction) {
    case Reduction::set: break;
    case Reduction::add: return add(element, update);
    case Reduction::mul: return mul(element, update);
    case Reduction::max: return is_nan(update) || update > element ? update : element;
    case Reduction::min: return is_nan(update) || update < element ? update : element;
  }
  return update;
}

// `each` is each_slice or each_element.
template <class Each>
void write_each(const Call& call, Each each) {
  const auto& attributes = call.as<ScatterAttributes>();
  const auto reduction = static_cast<Reduction>(attributes.reduction);
  const auto write = [&](auto y, const auto& updates, auto store_all) {
    each(call, attributes.axis,
         [&](std::size_t i, std::size_t element) { y[element] = reduced(reduction, y[element], updates[i]); });
    store_all(call.outputs[0], y);
  };
  if (reduction == Reduction::set) return write(load_bits(call.inputs[0]), load_bits(call.inputs[2]), store_bits);
  with_compute_type(call.inputs[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    write(load<T>(call.inputs[0]), load<T>(call.inputs[2]), store<T>);
  });
}

void scatter(const Call& call) {
  write_each(call, [](const Call& c, std::int64_t axis, auto f) { each_slice(c, axis, f); });
}
void scatter_elements(const Call& call) {
  write_each(call, [](const Call& c, std::int64_t axis, auto f) { each_element(c, axis, f); });
}

void sort(const Call& call) {
  const auto& attributes = call.as<SortAttributes>();
  const AxisView view(call.inputs[0].shape(), attributes.axis);
  with_compute_type(call.inputs[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    const std::vector<T> x = load<T>(call.inputs[0]);
    std::vector<T> values(x.size());
    std::vector<std::int64_t> indices(x.size());
    const auto less = [](T a, T b) { return a < b || (!is_nan(a) && is_nan(b)); };  // NaN is the largest
    std::vector<std::int64_t> order(static_cast<std::size_t>(view.extent));
    for (std::int64_t outer = 0; outer < view.outer; ++outer) {
      for (std::int64_t inner = 0; inner < view.inner; ++inner) {
        std::iota(order.begin(), order.end(), 0);
        std::ranges::stable_sort(order, [&](std::int64_t i, std::int64_t j) {
          const T a = x[view.position(outer, i, inner)], b = x[view.position(outer, j, inner)];
          return attributes.descending ? less(b, a) : less(a, b);
        });
        for (std::int64_t i = 0; i < view.extent; ++i) {
          const std::int64_t from = order[static_cast<std::size_t>(i)];
          values[view.position(outer, i, inner)] = x[view.position(outer, from, inner)];
          indices[view.position(outer, i, inner)] = from;
        }
      }
    }
    store(call.outputs[0], values);
    store(call.outputs[1], indices);
  });
}

constexpr Row kRows[] = {
    {"gather", gather},   {"gather_elements", gather_elements},
    {"scatter", scatter}, {"scatter_elements", scatter_elements},
    {"sort", sort},
};

}  // namespace

std::span<const Row> indexing_rows() { return kRows; }

}  // namespace ml::reference
