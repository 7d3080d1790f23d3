// Pooling over windows in f32 and f64, of f16 and bf16 through f32; integers fall apart into primitives.
//
// A part is some channels of some images. Where channels lie side by side, a vector holds several of them. Every
// window finds its maximum, and where it is first, in the row-major order of its positions.
#include <algorithm>
#include <limits>

#include "engine/backends/cpu/convolution_geometry.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/partition.h"
#include "engine/backends/cpu/targets.h"
#include "engine/backends/cpu/widened.h"
#include "engine/graph/ops/pooling.h"

namespace ml::cpu {
#ifndef ML_CPU_POOLING_ONCE
#define ML_CPU_POOLING_ONCE

constexpr std::int64_t kRun = 16;  // channels of a part: one vector or a few

// A pooling request: x [batch, channels, lines' extents], y [batch, channels, lines' counts].
struct Pooling {
  std::int64_t batch = 0, channels = 0;
  Lines lines;
  struct Strides {
    std::int64_t batch, channel, space[3];
  };
  Strides x, y, values;        // values: of max_pool_select, laid out as x is shaped
  std::int64_t positions = 1;  // of a window
  double work = 0;             // elements and window positions of one image
  bool count_padding = false;
};

enum class Pool : std::uint8_t { max, max_gradient, max_select, average, average_gradient };

#endif  // ML_CPU_POOLING_ONCE
}  // namespace ml::cpu

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/kernel_pooling.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Calls f(at, y offset) for every window.
template <class F>
HWY_INLINE void each_window(const Pooling& p, F f) {
  std::int64_t at[3];
  for (at[0] = 0; at[0] < p.lines.line[0].count; ++at[0]) {
    for (at[1] = 0; at[1] < p.lines.line[1].count; ++at[1]) {
      for (at[2] = 0; at[2] < p.lines.line[2].count; ++at[2]) {
        f(at, at[0] * p.y.space[0] + at[1] * p.y.space[1] + at[2] * p.y.space[2]);
      }
    }
  }
}

// Calls f(offset) for every position of a window that lies inside of x.
template <class F>
HWY_INLINE void each_position(const Pooling& p, const std::int64_t (&at)[3], const std::int64_t (&space)[3], F f) {
  const auto& [d, h, w] = p.lines.line;
  const std::int64_t h_last = h.last(at[1]), w_first = w.first(at[2]), w_last = w.last(at[2]);
  for (std::int64_t a = d.first(at[0]); a < d.last(at[0]); ++a) {
    for (std::int64_t b = h.first(at[1]); b < h_last; ++b) {
      const std::int64_t row = d.place(at[0], a) * space[0] + h.place(at[1], b) * space[1];
      for (std::int64_t c = w_first; c < w_last; ++c) f(row + w.place(at[2], c) * space[2]);
    }
  }
}

std::int64_t inside(const Pooling& p, const std::int64_t (&at)[3]) {
  std::int64_t count = 1;
  for (int d = 0; d < 3; ++d) {
    const Line& line = p.lines.line[d];
    count *= std::max<std::int64_t>(line.last(at[d]) - line.first(at[d]), 0);
  }
  return std::max<std::int64_t>(count, 1);
}

// As many channels at once as D has lanes.
template <class D, class T = hn::TFromD<D>, class V = hn::Vec<D>>
struct Kernels {
  using DI = hn::RebindToSigned<D>;
  using VI = hn::Vec<DI>;
  using TI = hn::TFromD<DI>;

  static void clear(const Pooling& p, T* x) {
    const D d;
    const auto& lines = p.lines.line;
    for (std::int64_t i = 0; i < lines[0].extent; ++i) {
      for (std::int64_t j = 0; j < lines[1].extent; ++j) {
        for (std::int64_t k = 0; k < lines[2].extent; ++k) {
          hn::StoreU(hn::Zero(d), d, x + i * p.x.space[0] + j * p.x.space[1] + k * p.x.space[2]);
        }
      }
    }
  }

  // Whether `value` takes the place of `best`: it is larger or NaN, and `best` is no NaN yet.
  static HWY_INLINE hn::Mask<D> beats(V value, V best) {
    return hn::And(hn::Eq(best, best), hn::Not(hn::Le(value, best)));
  }

  static void max(const Pooling& p, const T* x, T* y) {
    const D d;
    each_window(p, [&](const std::int64_t(&at)[3], std::int64_t place) {
      V best = hn::Set(d, -std::numeric_limits<T>::infinity());
      each_position(p, at, p.x.space, [&](std::int64_t offset) {
        const V value = hn::LoadU(d, x + offset);
        best = hn::IfThenElse(beats(value, best), value, best);
      });
      hn::StoreU(best, d, y + place);
    });
  }

  // The number of the position where a window's first maximum is.
  static HWY_INLINE VI find(const Pooling& p, const std::int64_t (&at)[3], const T* x) {
    const D d;
    const DI di;
    V best = hn::Set(d, -std::numeric_limits<T>::infinity());
    VI where = hn::Zero(di);
    TI position = 0;
    each_position(p, at, p.x.space, [&](std::int64_t offset) {
      const V value = hn::LoadU(d, x + offset);
      const hn::Mask<D> better = beats(value, best);
      best = hn::IfThenElse(better, value, best);
      where = hn::IfThenElse(hn::RebindMask(di, better), hn::Set(di, position), where);
      ++position;
    });
    return where;
  }

  static void max_gradient(const Pooling& p, const T* x, const T* dy, T* dx) {
    const D d;
    const DI di;
    clear(p, dx);
    each_window(p, [&](const std::int64_t(&at)[3], std::int64_t place) {
      const VI where = find(p, at, x);
      const V add = hn::LoadU(d, dy + place);
      TI position = 0;
      each_position(p, at, p.x.space, [&](std::int64_t offset) {
        const auto here = hn::RebindMask(d, hn::Eq(where, hn::Set(di, position)));
        hn::StoreU(hn::Add(hn::LoadU(d, dx + offset), hn::IfThenElseZero(here, add)), d, dx + offset);
        ++position;
      });
    });
  }

  static void max_select(const Pooling& p, const T* x, const T* values, T* y) {
    const D d;
    const DI di;
    each_window(p, [&](const std::int64_t(&at)[3], std::int64_t place) {
      const VI where = find(p, at, x);
      V chosen = hn::Zero(d);
      TI position = 0;
      each_position(p, at, p.values.space, [&](std::int64_t offset) {
        const auto here = hn::RebindMask(d, hn::Eq(where, hn::Set(di, position)));
        chosen = hn::IfThenElse(here, hn::LoadU(d, values + offset), chosen);
        ++position;
      });
      hn::StoreU(chosen, d, y + place);
    });
  }

  static V share(const Pooling& p, const std::int64_t (&at)[3]) {
    return hn::Set(D(), static_cast<T>(p.count_padding ? p.positions : inside(p, at)));
  }

  // Dimension by dimension, as the decomposition sums: where a sum overflows, both do.
  static void average(const Pooling& p, const T* x, T* y) {
    const D d;
    const auto &deep = p.lines.line[0], &high = p.lines.line[1], &wide = p.lines.line[2];
    each_window(p, [&](const std::int64_t(&at)[3], std::int64_t place) {
      V sum = hn::Zero(d);
      for (std::int64_t c = wide.first(at[2]); c < wide.last(at[2]); ++c) {
        V column = hn::Zero(d);
        for (std::int64_t b = high.first(at[1]); b < high.last(at[1]); ++b) {
          const T* const from = x + high.place(at[1], b) * p.x.space[1] + wide.place(at[2], c) * p.x.space[2];
          V line = hn::Zero(d);
          for (std::int64_t a = deep.first(at[0]); a < deep.last(at[0]); ++a) {
            line = hn::Add(line, hn::LoadU(d, from + deep.place(at[0], a) * p.x.space[0]));
          }
          column = hn::Add(column, line);
        }
        sum = hn::Add(sum, column);
      }
      hn::StoreU(hn::Div(sum, share(p, at)), d, y + place);
    });
  }

  static void average_gradient(const Pooling& p, const T* dy, T* dx) {
    const D d;
    clear(p, dx);
    each_window(p, [&](const std::int64_t(&at)[3], std::int64_t place) {
      const V part = hn::Div(hn::LoadU(d, dy + place), share(p, at));
      each_position(p, at, p.x.space,
                    [&](std::int64_t offset) { hn::StoreU(hn::Add(hn::LoadU(d, dx + offset), part), d, dx + offset); });
    });
  }

  // The channels from `first` on of image n; a, b and out as the op's inputs and output come.
  static void run(const Pooling& p, Pool pool, const void* a, const void* b, void* out, std::int64_t n,
                  std::int64_t first) {
    const std::int64_t x = n * p.x.batch + first * p.x.channel, y = n * p.y.batch + first * p.y.channel;
    const T* const in = static_cast<const T*>(a);
    const T* const second = static_cast<const T*>(b);
    T* const to = static_cast<T*>(out);
    switch (pool) {
      case Pool::max: max(p, in + x, to + y); return;
      case Pool::max_gradient: max_gradient(p, in + x, second + y, to + x); return;
      case Pool::max_select:
        max_select(p, in + x, second + n * p.values.batch + first * p.values.channel, to + y);
        return;
      case Pool::average: average(p, in + x, to + y); return;
      case Pool::average_gradient: average_gradient(p, in + y, to + x); return;
    }
  }
};

template <class T>
void pool_typed(const Pooling& p, Pool pool, const void* a, const void* b, void* out, std::int64_t n,
                std::int64_t first, std::int64_t last) {
  using Vector = hn::ScalableTag<T>;
  using One = hn::CappedTag<T, 1>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(Vector()));
  const bool dense = p.x.channel == 1 && p.y.channel == 1 && p.values.channel == 1;
  std::int64_t c = first;
  for (; dense && c + lanes <= last; c += lanes) Kernels<Vector>::run(p, pool, a, b, out, n, c);
  for (; c < last; ++c) Kernels<One>::run(p, pool, a, b, out, n, c);
}

}  // namespace

// Channels [first, last) of image n.
void pool_part(const Pooling& p, Pool pool, bool wide, const void* a, const void* b, void* out, std::int64_t n,
               std::int64_t first, std::int64_t last) {
  wide ? pool_typed<double>(p, pool, a, b, out, n, first, last) : pool_typed<float>(p, pool, a, b, out, n, first, last);
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {
namespace {

HWY_EXPORT(pool_part);

constexpr double kWorkPerPart = 32 * 1024;

Pooling::Strides strides_of(const Operand& operand) {
  const std::vector<std::int64_t>& strides = operand.layout.strides;
  Pooling::Strides result{strides[0], strides[1], {0, 0, 0}};
  const std::size_t spatial = strides.size() - 2;
  for (std::size_t d = 0; d < spatial; ++d) result.space[3 - spatial + d] = strides[d + 2];
  return result;
}

Pooling pooling_of(const Operand& x, const Operand& y, const Ints& size, const Windows& windows, bool count_padding) {
  Pooling p;
  p.batch = x.type.shape[0];
  p.channels = x.type.shape[1];
  p.lines = lines_of(x.type.shape, Shape(size), 0, y.type.shape, windows);
  p.x = p.values = strides_of(x);
  p.y = strides_of(y);
  for (const std::int64_t extent : size) p.positions *= extent;
  p.count_padding = count_padding;
  const auto per_image = [&](const Operand& operand) {
    return static_cast<double>(operand.type.shape.elements()) / static_cast<double>(std::max<std::int64_t>(p.batch, 1));
  };
  p.work = per_image(x) + per_image(y) * static_cast<double>(p.positions);
  return p;
}

template <Pool pool>
Pooling pooling_of(const KernelRequest& request) {
  if constexpr (pool == Pool::average) {
    const auto& a = request.as<AveragePoolAttributes>();
    return pooling_of(request.inputs[0], request.outputs[0], a.size, a.windows, a.count_padding);
  } else if constexpr (pool == Pool::average_gradient) {
    const auto& a = request.as<AveragePoolGradientAttributes>();
    return pooling_of(request.outputs[0], request.inputs[0], a.size, a.windows, a.count_padding);
  } else {
    const auto& a = request.as<MaxPoolAttributes>();
    const Operand& y = pool == Pool::max_gradient ? request.inputs[1] : request.outputs[0];
    Pooling p = pooling_of(request.inputs[0], y, a.size, a.windows, false);
    if constexpr (pool == Pool::max_select) p.values = strides_of(request.inputs[1]);
    return p;
  }
}

const char* refuse(const KernelRequest& request) {
  const DType dtype = request.outputs[0].type.dtype;
  return dtype == DType::f32 || dtype == DType::f64 ? nullptr : refusal::kDType;
}

// The gradient of max_pool addresses its result as it does its input.
template <Pool pool>
const char* refuse(const KernelRequest& request) {
  if (const char* const why = refuse(request)) return why;
  const bool same = pool != Pool::max_gradient || request.inputs[0].layout == request.outputs[0].layout;
  return same ? nullptr : refusal::kLayout;
}

template <Pool pool>
std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache&) {
  const auto run = HWY_DYNAMIC_DISPATCH(pool_part);
  const bool wide = request.outputs[0].type.dtype == DType::f64;
  return make_kernel(
      [p = pooling_of<pool>(request), run, wide](CpuStream& stream, Spans inputs, Spans outputs, std::byte*) {
        const std::int64_t chunks = (p.channels + kRun - 1) / kRun, pieces = p.batch * chunks;
        const std::int64_t parts = part_count(p.work * static_cast<double>(p.batch), kWorkPerPart, pieces);
        stream.pool().parallel_for(parts, [&](std::int64_t part) {
          const Range range = range_of(pieces, parts, part);
          for (std::int64_t piece = range.begin; piece < range.end; ++piece) {
            const std::int64_t first = piece % chunks * kRun;
            run(p, pool, wide, data_of(inputs[0]), inputs.size() > 1 ? data_of(inputs[1]) : nullptr,
                data_of(outputs[0]), piece / chunks, first, std::min(first + kRun, p.channels));
          }
        });
      });
}

// Channels-last all round.
void prefer(const KernelRequest& request, std::vector<Layout>& inputs, std::vector<Layout>& outputs) {
  const auto set = [](const std::vector<Operand>& operands, std::vector<Layout>& layouts) {
    for (std::size_t i = 0; i < operands.size(); ++i) {
      std::vector<int> order{0};
      for (int d = 2; d < operands[i].type.shape.rank(); ++d) order.push_back(d);
      order.push_back(1);
      layouts[i] = permuted(operands[i].type.shape, order);
    }
  };
  set(request.inputs, inputs);
  set(request.outputs, outputs);
}

template <Pool pool>
constexpr Implementation row(const char* op) {
  return {.op = op, .kernel = "pooling", .refuse = refuse<pool>, .compile = compile<pool>, .prefer = prefer};
}
template <Pool pool>
constexpr Implementation widened_row(const char* op) {
  return {.op = op,
          .kernel = "pooling_widened",
          .refuse = widened_refusal<refuse<pool>>,
          .compile = widened<compile<pool>>};
}

constexpr Implementation kTable[] = {
    row<Pool::max>("max_pool"),
    row<Pool::max_gradient>("max_pool_gradient"),
    row<Pool::max_select>("max_pool_select"),
    row<Pool::average>("average_pool"),
    row<Pool::average_gradient>("average_pool_gradient"),
    widened_row<Pool::max>("max_pool"),
    widened_row<Pool::max_gradient>("max_pool_gradient"),
    widened_row<Pool::max_select>("max_pool_select"),
    widened_row<Pool::average>("average_pool"),
    widened_row<Pool::average_gradient>("average_pool_gradient"),
};

}  // namespace

std::span<const Implementation> pooling_implementations() { return kTable; }

}  // namespace ml::cpu
#endif  // HWY_ONCE
