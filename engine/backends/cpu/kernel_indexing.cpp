// Gathering and scattering. Every index is checked where it is used: out of range reads zero or drops the update, and
// raises the stream's error flag.
//
// Scatters are cut along what does not collide (before and behind the axis), so each element's updates add up in order.
#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <type_traits>

#include "engine/backends/cpu/axis_view.h"
#include "engine/backends/cpu/channels_last.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/partition.h"
#include "engine/backends/cpu/widened.h"
#include "engine/graph/ops/indexing.h"

namespace ml::cpu {
namespace {

constexpr double kElementsPerPart = 8192;

// The indices of a launch; i32 or i64.
class Indices {
 public:
  Indices(const BufferSpan& span, bool wide, std::int64_t extent, CpuStream& stream)
      : data_(data_of(span)), wide_(wide), extent_(extent), stream_(stream) {}

  // The place that index `i` means: negative ones count from the end; -1, and the error flag, when it is out of range.
  std::int64_t place(std::int64_t i) const {
    const std::int64_t index =
        wide_ ? reinterpret_cast<const std::int64_t*>(data_)[i] : reinterpret_cast<const std::int32_t*>(data_)[i];
    const std::int64_t place = index < 0 ? index + extent_ : index;
    if (place >= 0 && place < extent_) return place;
    stream_.set_index_error();
    return -1;
  }

 private:
  const std::byte* data_;
  bool wide_;
  std::int64_t extent_;
  CpuStream& stream_;
};

struct Request {
  AxisView view;
  std::int64_t count;  // of indices
  bool wide;
  std::size_t width;  // of an element

  Request(const KernelRequest& request, std::int64_t axis)
      : view(request.inputs[0].type.shape, axis),
        count(request.inputs[1].type.shape.elements()),
        wide(request.inputs[1].type.dtype == DType::i64),
        width(dtype_size(request.inputs[0].type.dtype)) {}
};

// Rows [begin, end) of outer x count; a row is `run` bytes, which is the size of a Word unless that is a byte.
template <class Index, class Word>
bool gather_rows(const Request& r, std::size_t run, Range rows, const std::byte* x, const std::byte* indices,
                 std::byte* y) {
  const auto* const index = reinterpret_cast<const Index*>(indices);
  const auto extent = static_cast<std::uint64_t>(r.view.extent);
  bool inside = true;
  for (std::int64_t row = rows.begin; row < rows.end;) {
    const std::int64_t outer = row / r.count, first = row % r.count;
    const std::int64_t end = std::min(r.count, first + rows.end - row);
    const std::byte* const from = x + static_cast<std::size_t>(outer * r.view.extent) * run;
    std::byte* const to = y + static_cast<std::size_t>(outer * r.count) * run;
    for (std::int64_t i = first; i < end; ++i) {
      const auto at = static_cast<std::int64_t>(index[i]);
      const auto place = static_cast<std::uint64_t>(at < 0 ? at + r.view.extent : at);
      const bool there = place < extent;
      inside &= there;
      if constexpr (sizeof(Word) > 1) {
        const Word* const words = reinterpret_cast<const Word*>(from);
        reinterpret_cast<Word*>(to)[i] = there ? words[place] : Word{0};
      } else if (there) {
        std::memcpy(to + static_cast<std::size_t>(i) * run, from + place * run, run);
      } else {
        std::memset(to + static_cast<std::size_t>(i) * run, 0, run);
      }
    }
    row += end - first;
  }
  return inside;
}

template <class Index>
auto gather_by_run(std::size_t run) {
  return run == 2   ? gather_rows<Index, std::uint16_t>
         : run == 4 ? gather_rows<Index, std::uint32_t>
         : run == 8 ? gather_rows<Index, std::uint64_t>
                    : gather_rows<Index, std::uint8_t>;
}

// The dimensions, outermost first, as x and the result of a gather by a vector both lie: none when they do not.
std::vector<int> shared_order(const KernelRequest& request) {
  const Operand &x = request.inputs[0], &y = request.outputs[0];
  for (const Operand* told : {&x, &y}) {
    std::vector<int> order(told->layout.strides.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::ranges::greater(),
                             [&](int d) { return told->layout.strides[static_cast<std::size_t>(d)]; });
    if (lies_as(x, permuted(x.type.shape, order)) && lies_as(y, permuted(y.type.shape, order))) return order;
  }
  return {};
}

// x around the axis as it lies in memory: the vector's dimension takes the place of the axis.
const char* refuse_gather(const KernelRequest& request) {
  if (request.inputs[1].type.shape.rank() != 1) return refuse_strided(request);
  const bool vector = lies_as(request.inputs[1], row_major(request.inputs[1].type.shape));
  return vector && !shared_order(request).empty() ? nullptr : refusal::kLayout;
}

std::unique_ptr<Kernel> compile_gather(const KernelRequest& request, PackCache&) {
  Request r(request, request.as<AxisAttributes>().axis);
  if (request.inputs[1].type.shape.rank() == 1) {
    Shape lies;
    std::int64_t axis = 0;
    for (const int d : shared_order(request)) {
      if (d == request.as<AxisAttributes>().axis) axis = lies.rank();
      lies.append(request.inputs[0].type.shape[d]);
    }
    r.view = AxisView(lies, axis);
  }
  const std::size_t run = static_cast<std::size_t>(r.view.inner) * r.width;
  const auto rows_of = r.wide ? gather_by_run<std::int64_t>(run) : gather_by_run<std::int32_t>(run);
  const std::int64_t rows = r.view.outer * r.count;
  const std::int64_t parts =
      part_count(static_cast<double>(rows) * static_cast<double>(r.view.inner), kElementsPerPart, rows);
  const auto gather = [=](CpuStream& stream, Spans inputs, Spans outputs, std::byte*) {
    stream.pool().parallel_for(parts, [&](std::int64_t part) {
      if (!rows_of(r, run, range_of(rows, parts, part), data_of(inputs[0]), data_of(inputs[1]), data_of(outputs[0])))
        stream.set_index_error();
    });
  };
  // Rows that are no words are copied byte by byte: a table of embeddings stays where it is in a file.
  return make_kernel(gather, 0, run == 2 || run == 4 || run == 8 ? ConstantUse::aligned : ConstantUse::bytes);
}

// Where the elements of a smaller tensor of indices lie in x, along each dimension but the axis.
struct ElementWalk {
  std::vector<std::int64_t> extents, strides;  // of the indices' shape; strides in x, 0 along the axis
  std::int64_t along = 1;                      // stride of x along the axis
  std::int64_t extent = 0;                     // of x along the axis
  std::size_t axis = 0;

  ElementWalk(const KernelRequest& request, std::int64_t along_axis) : axis(static_cast<std::size_t>(along_axis)) {
    const Shape& indices = request.inputs[1].type.shape;
    extents.assign(indices.begin(), indices.end());
    strides = row_major(request.inputs[0].type.shape).strides;
    along = strides[axis];
    extent = request.inputs[0].type.shape[static_cast<int>(axis)];
    strides[axis] = 0;
  }

  std::int64_t elements() const {
    std::int64_t product = 1;
    for (const std::int64_t e : extents) product *= e;
    return product;
  }
  // The offset in x of element `i` of the indices, but for the axis.
  std::int64_t offset(std::int64_t i) const {
    std::int64_t result = 0;
    for (std::size_t d = extents.size(); d-- > 0;) {
      result += i % extents[d] * strides[d];
      i /= extents[d];
    }
    return result;
  }
};

template <std::size_t width>
void copy_element(std::byte* to, const std::byte* from) {
  if (from == nullptr) {
    std::memset(to, 0, width);
  } else {
    std::memcpy(to, from, width);
  }
}

std::unique_ptr<Kernel> compile_gather_elements(const KernelRequest& request, PackCache&) {
  const std::int64_t axis = request.as<AxisAttributes>().axis;
  return make_kernel([walk = ElementWalk(request, axis), r = Request(request, axis)](CpuStream& stream, Spans inputs,
                                                                                     Spans outputs, std::byte*) {
    const std::byte* const x = data_of(inputs[0]);
    std::byte* const y = data_of(outputs[0]);
    const Indices indices(inputs[1], r.wide, walk.extent, stream);
    const auto copy = r.width == 1   ? copy_element<1>
                      : r.width == 2 ? copy_element<2>
                      : r.width == 4 ? copy_element<4>
                                     : copy_element<8>;
    const std::int64_t elements = walk.elements();
    const std::int64_t parts = part_count(static_cast<double>(elements), kElementsPerPart, elements);
    stream.pool().parallel_for(parts, [&](std::int64_t part) {
      const Range range = range_of(elements, parts, part);
      for (std::int64_t i = range.begin; i < range.end; ++i) {
        const std::int64_t place = indices.place(i);
        copy(y + static_cast<std::size_t>(i) * r.width,
             place < 0 ? nullptr : x + static_cast<std::size_t>(walk.offset(i) + place * walk.along) * r.width);
      }
    });
  });
}

template <class T>
T plus(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  } else {
    return a + b;
  }
}
template <class T>
T times(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
  } else {
    return a * b;
  }
}

// Calls f with a zero of the type in memory and what a reduction makes of an element and an update, which both take and
// answer that type. Elements that are only copied are unsigned integers of their width.
template <class F>
std::unique_ptr<Kernel> for_reduction(const KernelRequest& request, F f) {
  const auto with = [&f](auto zero, auto reduce) -> std::unique_ptr<Kernel> { return f(zero, reduce); };
  const auto set = [](auto, auto update) { return update; };
  const auto add = [](auto element, auto update) { return plus(element, update); };
  const auto mul = [](auto element, auto update) { return times(element, update); };
  const auto max = [](auto element, auto update) { return update > element || update != update ? update : element; };
  const auto min = [](auto element, auto update) { return update < element || update != update ? update : element; };
  const DType dtype = request.inputs[0].type.dtype;
  const auto reduction = static_cast<Reduction>(request.as<ScatterAttributes>().reduction);
  if (reduction == Reduction::set) {
    switch (dtype_size(dtype)) {
      case 1: return with(std::uint8_t{}, set);
      case 2: return with(std::uint16_t{}, set);
      case 4: return with(std::uint32_t{}, set);
      default: return with(std::uint64_t{}, set);
    }
  }
  return dispatch(dtype, [&](auto zero) -> std::unique_ptr<Kernel> {
    using T = decltype(zero);
    if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat> || std::is_same_v<T, bool>) {
      return nullptr;
    } else {
      switch (reduction) {
        case Reduction::mul: return with(zero, mul);
        case Reduction::max: return with(zero, max);
        case Reduction::min: return with(zero, min);
        default: return with(zero, add);
      }
    }
  });
}

std::unique_ptr<Kernel> compile_scatter(const KernelRequest& request, PackCache&) {
  const std::size_t bytes =
      static_cast<std::size_t>(request.inputs[0].type.shape.elements()) * dtype_size(request.inputs[0].type.dtype);
  return for_reduction(request, [&](auto zero, auto reduce) {
    using T = decltype(zero);
    const Request r(request, request.as<ScatterAttributes>().axis);
    return make_kernel([r, bytes, reduce](CpuStream& stream, Spans inputs, Spans outputs, std::byte*) {
      if (data_of(outputs[0]) != data_of(inputs[0])) std::memcpy(data_of(outputs[0]), data_of(inputs[0]), bytes);
      T* const y = data_of<T>(outputs[0]);
      const auto* const updates = data_of<T>(inputs[2]);
      const Indices indices(inputs[1], r.wide, r.view.extent, stream);
      // Parts along `outer` and along `inner`.
      const double work = static_cast<double>(r.view.outer) * static_cast<double>(r.count * r.view.inner);
      const std::int64_t across = part_count(work, kElementsPerPart, r.view.outer);
      const std::int64_t along = part_count(work / static_cast<double>(across), kElementsPerPart, r.view.inner / 16);
      stream.pool().parallel_for(across * along, [&](std::int64_t part) {
        const Range rows = range_of(r.view.outer, across, part / along);
        const Range run = range_of(r.view.inner, along, part % along);
        for (std::int64_t outer = rows.begin; outer < rows.end; ++outer) {
          for (std::int64_t i = 0; i < r.count; ++i) {
            const std::int64_t place = indices.place(i);
            if (place < 0) continue;
            T* const to = y + (outer * r.view.extent + place) * r.view.inner;
            const T* const from = updates + (outer * r.count + i) * r.view.inner;
            for (std::int64_t k = run.begin; k < run.end; ++k) to[k] = reduce(to[k], from[k]);
          }
        }
      });
    });
  });
}

std::unique_ptr<Kernel> compile_scatter_elements(const KernelRequest& request, PackCache&) {
  const std::size_t bytes =
      static_cast<std::size_t>(request.inputs[0].type.shape.elements()) * dtype_size(request.inputs[0].type.dtype);
  return for_reduction(request, [&](auto zero, auto reduce) {
    using T = decltype(zero);
    const std::int64_t axis = request.as<ScatterAttributes>().axis;
    return make_kernel([walk = ElementWalk(request, axis), wide = Request(request, axis).wide, bytes, reduce](
                           CpuStream& stream, Spans inputs, Spans outputs, std::byte*) {
      if (data_of(outputs[0]) != data_of(inputs[0])) std::memcpy(data_of(outputs[0]), data_of(inputs[0]), bytes);
      T* const y = data_of<T>(outputs[0]);
      const auto* const updates = data_of<T>(inputs[2]);
      const Indices indices(inputs[1], wide, walk.extent, stream);
      // Lines along the axis do not collide: parts of the dimensions before it.
      std::int64_t outer = 1, inner = 1;
      for (std::size_t d = 0; d < walk.extents.size(); ++d) (d < walk.axis ? outer : inner) *= walk.extents[d];
      const std::int64_t parts =
          part_count(static_cast<double>(outer) * static_cast<double>(inner), kElementsPerPart, outer);
      stream.pool().parallel_for(parts, [&](std::int64_t part) {
        const Range range = range_of(outer, parts, part);
        for (std::int64_t i = range.begin * inner; i < range.end * inner; ++i) {
          const std::int64_t place = indices.place(i);
          if (place < 0) continue;
          T& to = y[walk.offset(i) + place * walk.along];
          to = reduce(to, updates[i]);
        }
      });
    });
  });
}

// 16-bit floats can be copied as they are, not computed with.
const char* refuse_scatter(const KernelRequest& request) {
  const DType dtype = request.inputs[0].type.dtype;
  const bool copies = request.as<ScatterAttributes>().reduction == static_cast<std::int64_t>(Reduction::set);
  if (!copies && (dtype == DType::f16 || dtype == DType::bf16)) return refusal::kDType;
  return refuse_strided(request);
}

constexpr Implementation kTable[] = {
    {.op = "gather", .kernel = "gather", .refuse = refuse_gather, .compile = compile_gather},
    {.op = "gather_elements", .kernel = "gather", .refuse = refuse_strided, .compile = compile_gather_elements},
    {.op = "scatter", .kernel = "scatter", .refuse = refuse_scatter, .compile = compile_scatter},
    {.op = "scatter_elements", .kernel = "scatter", .refuse = refuse_scatter, .compile = compile_scatter_elements},
    {.op = "scatter",
     .kernel = "scatter_widened",
     .refuse = widened_refusal<refuse_scatter>,
     .compile = widened<compile_scatter>},
    {.op = "scatter_elements",
     .kernel = "scatter_widened",
     .refuse = widened_refusal<refuse_scatter>,
     .compile = widened<compile_scatter_elements>},
};

}  // namespace

std::span<const Implementation> indexing_implementations() { return kTable; }

}  // namespace ml::cpu
