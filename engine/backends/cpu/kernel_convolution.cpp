// Convolutions that oneDNN does not take: f64, i32, and sizes or layouts of f32 that it refuses. Direct loops in parts
// of one image and channel each; every sum runs in order.
#include "engine/backends/cpu/convolution_geometry.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/widened.h"

namespace ml::cpu {
namespace {

// Strides of an activation or weight, spatial ones as three.
struct Strides5 {
  std::int64_t outer, channel, space[3];
  explicit Strides5(const Operand& operand) : outer(operand.layout.strides[0]), channel(operand.layout.strides[1]) {
    const auto spatial = operand.layout.strides.size() - 2;
    for (std::size_t d = 0; d < 3; ++d) space[d] = d < 3 - spatial ? 0 : operand.layout.strides[d + spatial - 1];
  }
};

struct Geometry {
  std::int64_t batch, groups, in, out;  // channels of one group
  Lines lines;
  Strides5 x, w, y;
  std::int64_t bias = 0;  // stride

  explicit Geometry(const ConvolutionRequest& r)
      : batch(r.x->type.shape[0]),
        groups(r.groups),
        in(r.w->type.shape[1]),
        out(r.w->type.shape[0] / r.groups),
        lines(lines_of(r.x->type.shape, r.w->type.shape, 2, r.y->type.shape, r.windows)),
        x(*r.x),
        w(*r.w),
        y(*r.y) {
    if (r.bias != nullptr) bias = r.bias->layout.strides[0];
  }
};

// Calls f(x offset, w offset) for every product inside of window (i, j, k).
template <class F>
void window(const Geometry& g, const std::int64_t (&at)[3], F f) {
  const auto& [d, h, w] = g.lines.line;
  for (std::int64_t a = d.first(at[0]); a < d.last(at[0]); ++a) {
    for (std::int64_t b = h.first(at[1]); b < h.last(at[1]); ++b) {
      const std::int64_t x = d.place(at[0], a) * g.x.space[0] + h.place(at[1], b) * g.x.space[1];
      const std::int64_t v = a * g.w.space[0] + b * g.w.space[1];
      for (std::int64_t c = w.first(at[2]); c < w.last(at[2]); ++c) {
        f(x + w.place(at[2], c) * g.x.space[2], v + c * g.w.space[2]);
      }
    }
  }
}

// Calls f(at, y offset) for every window of an image.
template <class F>
void windows(const Geometry& g, F f) {
  std::int64_t at[3];
  for (at[0] = 0; at[0] < g.lines.line[0].count; ++at[0]) {
    for (at[1] = 0; at[1] < g.lines.line[1].count; ++at[1]) {
      for (at[2] = 0; at[2] < g.lines.line[2].count; ++at[2]) {
        f(at, at[0] * g.y.space[0] + at[1] * g.y.space[1] + at[2] * g.y.space[2]);
      }
    }
  }
}

template <class T>
void forward(const Geometry& g, ThreadPool& pool, const T* x, const T* w, const T* bias, T* y) {
  const std::int64_t channels = g.groups * g.out;
  pool.parallel_for(g.batch * channels, [&](std::int64_t part) {
    const std::int64_t n = part / channels, o = part % channels, group = o / g.out;
    const T* const image = x + n * g.x.outer + group * g.in * g.x.channel;
    const T* const weights = w + o * g.w.outer;
    T* const to = y + n * g.y.outer + o * g.y.channel;
    windows(g, [&](const std::int64_t(&at)[3], std::int64_t place) {
      T sum = bias != nullptr ? bias[o * g.bias] : T(0);
      for (std::int64_t c = 0; c < g.in; ++c) {
        window(g, at, [&](std::int64_t i, std::int64_t v) {
          sum += image[c * g.x.channel + i] * weights[c * g.w.channel + v];
        });
      }
      to[place] = sum;
    });
  });
}

template <class T>
void clear_plane(const Geometry& g, T* plane) {
  const auto& lines = g.lines.line;
  for (std::int64_t i = 0; i < lines[0].extent; ++i) {
    for (std::int64_t j = 0; j < lines[1].extent; ++j) {
      for (std::int64_t k = 0; k < lines[2].extent; ++k) {
        plane[i * g.x.space[0] + j * g.x.space[1] + k * g.x.space[2]] = T(0);
      }
    }
  }
}

template <class T>
void input_gradient(const Geometry& g, ThreadPool& pool, const T* dy, const T* w, T* dx) {
  const std::int64_t channels = g.groups * g.in;
  pool.parallel_for(g.batch * channels, [&](std::int64_t part) {
    const std::int64_t n = part / channels, c = part % channels, group = c / g.in;
    T* const plane = dx + n * g.x.outer + c * g.x.channel;
    clear_plane(g, plane);
    for (std::int64_t o = group * g.out; o < (group + 1) * g.out; ++o) {
      const T* const weights = w + o * g.w.outer + c % g.in * g.w.channel;
      const T* const from = dy + n * g.y.outer + o * g.y.channel;
      windows(g, [&](const std::int64_t(&at)[3], std::int64_t place) {
        window(g, at, [&](std::int64_t i, std::int64_t v) { plane[i] += from[place] * weights[v]; });
      });
    }
  });
}

template <class T>
void weight_gradient(const Geometry& g, ThreadPool& pool, const T* x, const T* dy, T* dw) {
  pool.parallel_for(g.groups * g.out * g.in, [&](std::int64_t part) {
    const std::int64_t o = part / g.in, c = part % g.in, group = o / g.out;
    T* const weights = dw + o * g.w.outer + c * g.w.channel;
    const auto& lines = g.lines.line;
    for (std::int64_t a = 0; a < lines[0].window; ++a) {
      for (std::int64_t b = 0; b < lines[1].window; ++b) {
        for (std::int64_t e = 0; e < lines[2].window; ++e) {
          weights[a * g.w.space[0] + b * g.w.space[1] + e * g.w.space[2]] = T(0);
        }
      }
    }
    for (std::int64_t n = 0; n < g.batch; ++n) {
      const T* const image = x + n * g.x.outer + (group * g.in + c) * g.x.channel;
      const T* const from = dy + n * g.y.outer + o * g.y.channel;
      windows(g, [&](const std::int64_t(&at)[3], std::int64_t place) {
        window(g, at, [&](std::int64_t i, std::int64_t v) { weights[v] += image[i] * from[place]; });
      });
    }
  });
}

template <class T>
std::unique_ptr<Kernel> compile_typed(const ConvolutionRequest& request) {
  return make_kernel([g = Geometry(request), direction = request.direction](CpuStream& stream, Spans inputs,
                                                                            Spans outputs, std::byte*) {
    const T* const first = data_of<T>(inputs[0]);
    const T* const second = data_of<T>(inputs[1]);
    T* const out = data_of<T>(outputs[0]);
    switch (direction) {
      case Direction::forward:
        forward<T>(g, stream.pool(), first, second, inputs.size() == 3 ? data_of<T>(inputs[2]) : nullptr, out);
        return;
      case Direction::input_gradient: input_gradient<T>(g, stream.pool(), first, second, out); return;
      case Direction::weight_gradient: weight_gradient<T>(g, stream.pool(), first, second, out); return;
    }
  });
}

const char* refuse(const KernelRequest& request) {
  const DType dtype = request.outputs[0].type.dtype;
  return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::i32 ? nullptr : refusal::kDType;
}

std::unique_ptr<Kernel> compile(const KernelRequest& node, PackCache&) {
  const ConvolutionRequest request(node);
  switch (node.outputs[0].type.dtype) {
    case DType::f64: return compile_typed<double>(request);
    case DType::i32: return compile_typed<std::uint32_t>(request);  // wraps
    default: return compile_typed<float>(request);
  }
}

constexpr Implementation row(const char* op) {
  return {.op = op, .kernel = "direct_convolution", .refuse = refuse, .compile = compile};
}
constexpr Implementation widened_row(const char* op) {
  return {
      .op = op, .kernel = "direct_convolution_widened", .refuse = widened_refusal<refuse>, .compile = widened<compile>};
}

constexpr Implementation kTable[] = {
    row("convolution"),         row("convolution_input_gradient"),         row("convolution_weight_gradient"),
    widened_row("convolution"), widened_row("convolution_input_gradient"), widened_row("convolution_weight_gradient"),
};

}  // namespace

std::span<const Implementation> direct_convolution_implementations() { return kTable; }

}  // namespace ml::cpu
