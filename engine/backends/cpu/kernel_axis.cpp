// Along one axis: argmax and argmin, cumulative sums, sorting. Every line is done in order by one thread.
#include <algorithm>
#include <numeric>
#include <type_traits>

#include "engine/backends/cpu/axis_view.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/partition.h"
#include "engine/graph/ops/indexing.h"
#include "engine/graph/ops/reduce.h"

namespace ml::cpu {
namespace {

constexpr double kElementsPerPart = 8192;

// Calls f(outer, inner, part) for every line, in parts.
template <class F>
void each_line(ThreadPool& pool, const AxisView& view, std::int64_t parts, F f) {
  const std::int64_t lines = view.outer * view.inner;
  pool.parallel_for(parts, [&](std::int64_t part) {
    const Range range = range_of(lines, parts, part);
    for (std::int64_t line = range.begin; line < range.end; ++line) f(line / view.inner, line % view.inner, part);
  });
}

std::int64_t parts_of(const AxisView& view) {
  const std::int64_t lines = view.outer * view.inner;
  return part_count(static_cast<double>(lines) * static_cast<double>(view.extent), kElementsPerPart, lines);
}

template <class V>
bool is_nan(V value) {
  return value != value;
}

// The first of equals; NaN beats everything.
template <bool largest>
std::unique_ptr<Kernel> compile_arg(const KernelRequest& request, PackCache&) {
  const AxisView view(request.inputs[0].type.shape, request.as<ArgReduceAttributes>().axis);
  return dispatch(request.inputs[0].type.dtype, [&view](auto tag) {
    using T = decltype(tag);
    return make_kernel([view](CpuStream& stream, Spans inputs, Spans outputs, std::byte*) {
      const auto* const x = data_of<T>(inputs[0]);
      auto* const y = data_of<std::int64_t>(outputs[0]);
      each_line(stream.pool(), view, parts_of(view), [&](std::int64_t outer, std::int64_t inner, std::int64_t) {
        const T* const line = x + outer * view.extent * view.inner + inner;
        auto best = value_of(line[0]);
        std::int64_t at = 0;
        for (std::int64_t i = 1; i < view.extent && !is_nan(best); ++i) {
          const auto value = value_of(line[i * view.inner]);
          if ((largest ? value > best : value < best) || is_nan(value)) best = value, at = i;
        }
        y[outer * view.inner + inner] = at;
      });
    });
  });
}

std::unique_ptr<Kernel> compile_cumsum(const KernelRequest& request, PackCache&) {
  const auto& attributes = request.as<CumsumAttributes>();
  const AxisView view(request.inputs[0].type.shape, attributes.axis);
  const bool exclusive = attributes.exclusive, reverse = attributes.reverse;
  return dispatch(request.inputs[0].type.dtype, [&](auto tag) {
    using T = decltype(tag);
    // Floats sum in double and round once per element; integers wrap.
    using Sum = std::conditional_t<std::is_integral_v<T>, std::uint64_t, double>;
    return make_kernel([=](CpuStream& stream, Spans inputs, Spans outputs, std::byte*) {
      const auto* const x = data_of<T>(inputs[0]);
      auto* const y = data_of<T>(outputs[0]);
      each_line(stream.pool(), view, parts_of(view), [&](std::int64_t outer, std::int64_t inner, std::int64_t) {
        const std::int64_t start = outer * view.extent * view.inner + inner;
        Sum sum = 0;
        for (std::int64_t i = 0; i < view.extent; ++i) {
          const std::int64_t at = start + (reverse ? view.extent - 1 - i : i) * view.inner;
          const auto value = static_cast<Sum>(value_of(x[at]));
          if (!exclusive) sum += value;
          y[at] = ElementOf<T>::make(sum);
          if (exclusive) sum += value;
        }
      });
    });
  });
}

std::unique_ptr<Kernel> compile_sort(const KernelRequest& request, PackCache&) {
  const auto& attributes = request.as<SortAttributes>();
  const AxisView view(request.inputs[0].type.shape, attributes.axis);
  const std::int64_t parts = parts_of(view);
  const std::size_t order_bytes = aligned_size(static_cast<std::size_t>(view.extent) * sizeof(std::int64_t));
  return dispatch(request.inputs[0].type.dtype, [&](auto tag) -> std::unique_ptr<Kernel> {
    using T = decltype(tag);
    const bool descending = attributes.descending;
    const auto run = [=](CpuStream& stream, Spans inputs, Spans outputs, std::byte* scratch) {
      const auto* const x = data_of<T>(inputs[0]);
      T* const values = data_of<T>(outputs[0]);
      auto* const indices = data_of<std::int64_t>(outputs[1]);
      each_line(stream.pool(), view, parts, [&](std::int64_t outer, std::int64_t inner, std::int64_t part) {
        const std::int64_t start = outer * view.extent * view.inner + inner;
        auto* const order = reinterpret_cast<std::int64_t*>(scratch + static_cast<std::size_t>(part) * order_bytes);
        std::iota(order, order + view.extent, 0);
        const auto less = [](auto a, auto b) { return a < b || (!is_nan(a) && is_nan(b)); };  // NaN is the largest
        // Equals keep their order: sorting by (value, index) is stable and needs no memory.
        std::sort(order, order + view.extent, [&](std::int64_t i, std::int64_t j) {
          const auto a = value_of(x[start + i * view.inner]), b = value_of(x[start + j * view.inner]);
          if (less(a, b)) return !descending;
          if (less(b, a)) return descending;
          return i < j;
        });
        for (std::int64_t i = 0; i < view.extent; ++i) {
          const std::int64_t at = start + i * view.inner;
          if (values != nullptr) values[at] = x[start + order[i] * view.inner];
          if (indices != nullptr) indices[at] = order[i];
        }
      });
    };
    return make_kernel(run, order_bytes * static_cast<std::size_t>(parts));
  });
}

constexpr Implementation kTable[] = {
    {.op = "argmax", .kernel = "lines", .refuse = refuse_strided, .compile = compile_arg<true>},
    {.op = "argmin", .kernel = "lines", .refuse = refuse_strided, .compile = compile_arg<false>},
    {.op = "cumsum", .kernel = "lines", .refuse = refuse_strided, .compile = compile_cumsum},
    {.op = "sort", .kernel = "lines", .refuse = refuse_strided, .compile = compile_sort},
};

}  // namespace

std::span<const Implementation> axis_implementations() { return kTable; }

}  // namespace ml::cpu
