#include "engine/graph/ops/reduce.h"

#include <algorithm>
#include <limits>

#include "engine/backends/reference/kernel.h"

namespace ml::reference {
namespace {

// Strides that send an input element to the result element it is folded into: 0 along the folded axes.
Strides fold_strides(const Shape& shape, std::span<const std::int64_t> axes) {
  Strides strides{};
  std::int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    if (std::ranges::find(axes, axis) != axes.end()) continue;
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  return strides;
}

template <class T, class F>
void fold(const Call& call, T start, F f) {
  const Tensor& input = call.inputs[0];
  const std::vector<T> x = load<T>(input);
  std::vector<T> y(static_cast<std::size_t>(call.outputs[0].elements()), start);
  walk(input.shape(), fold_strides(input.shape(), call.as<ReduceAttributes>().axes),
       [&](std::int64_t from, std::int64_t to) {
         T& result = y[static_cast<std::size_t>(to)];
         result = f(result, x[static_cast<std::size_t>(from)]);
       });
  store(call.outputs[0], y);
}

void reduce_sum(const Call& call) {
  with_compute_type(call.inputs[0].dtype(),
                    [&call](auto zero) { fold(call, zero, [](auto a, auto b) { return add(a, b); }); });
}
void reduce_prod(const Call& call) {
  with_compute_type(call.inputs[0].dtype(), [&call](auto zero) {
    fold(call, static_cast<decltype(zero)>(1), [](auto a, auto b) { return mul(a, b); });
  });
}

// Whether b comes before a; NaN comes before everything.
struct Above {
  template <class T>
  bool operator()(T a, T b) const {
    return !is_nan(a) && (is_nan(b) || b > a);
  }
};
struct Below {
  template <class T>
  bool operator()(T a, T b) const {
    return !is_nan(a) && (is_nan(b) || b < a);
  }
};

// What an extremum over nothing is, in a dtype: it loses against everything.
template <class T>
T loser(DType dtype, bool lowest) {
  using Limits = std::numeric_limits<T>;
  if constexpr (std::is_floating_point_v<T>) {
    return lowest ? -Limits::infinity() : Limits::infinity();
  } else {
    const int unused = 64 - dtype_info(dtype).bits;
    return (lowest ? Limits::min() : Limits::max()) >> unused;
  }
}

template <class Before>
void reduce_extremum(const Call& call) {
  const DType dtype = call.inputs[0].dtype();
  with_compute_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    fold(call, loser<T>(dtype, std::is_same_v<Before, Above>), [](T a, T b) { return Before()(a, b) ? b : a; });
  });
}

template <class Before>
void arg_extremum(const Call& call) {
  const Tensor& input = call.inputs[0];
  const AxisView view(input.shape(), call.as<ArgReduceAttributes>().axis);
  with_compute_type(input.dtype(), [&](auto zero) {
    const auto x = load<decltype(zero)>(input);
    std::vector<std::int64_t> best(static_cast<std::size_t>(view.outer * view.inner));
    for (std::int64_t outer = 0; outer < view.outer; ++outer) {
      for (std::int64_t inner = 0; inner < view.inner; ++inner) {
        const auto at = [&](std::int64_t i) { return x[view.position(outer, i, inner)]; };
        std::int64_t& first = best[static_cast<std::size_t>(outer * view.inner + inner)];
        for (std::int64_t i = 1; i < view.extent; ++i) {
          if (Before()(at(first), at(i))) first = i;
        }
      }
    }
    store(call.outputs[0], best);
  });
}

void cumsum(const Call& call) {
  const auto& attributes = call.as<CumsumAttributes>();
  const Tensor& input = call.inputs[0];
  const AxisView view(input.shape(), attributes.axis);
  with_compute_type(input.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const std::vector<T> x = load<T>(input);
    std::vector<T> y(x.size());
    for (std::int64_t outer = 0; outer < view.outer; ++outer) {
      for (std::int64_t inner = 0; inner < view.inner; ++inner) {
        T sum = 0;
        for (std::int64_t step = 0; step < view.extent; ++step) {
          const std::size_t at = view.position(outer, attributes.reverse ? view.extent - 1 - step : step, inner);
          const T before = sum;
          sum = add(sum, x[at]);
          y[at] = attributes.exclusive ? before : sum;
        }
      }
    }
    store(call.outputs[0], y);
  });
}

constexpr Row kRows[] = {
    {"reduce_sum", reduce_sum},
    {"reduce_prod", reduce_prod},
    {"reduce_max", reduce_extremum<Above>},
    {"reduce_min", reduce_extremum<Below>},
    {"argmax", arg_extremum<Above>},
    {"argmin", arg_extremum<Below>},
    {"cumsum", cumsum},
};

}  // namespace

std::span<const Row> reduce_rows() { return kRows; }

}  // namespace ml::reference
