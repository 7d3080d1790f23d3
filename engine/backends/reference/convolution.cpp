// Convolution and its two gradients are one sum of products read three ways: y += x w, dx += dy w, dw += x dy.
#include "engine/graph/ops/convolution.h"

#include "engine/backends/reference/kernel.h"

namespace ml::reference {
namespace {

// One spatial dimension.
struct Line {
  std::int64_t extent = 1, window = 1, count = 1;  // of x, w and y
  std::int64_t stride = 1, pad = 0, dilation = 1;

  // Where position `k` of window `i` lies in x; negative or past the extent in the padding.
  std::int64_t place(std::int64_t i, std::int64_t k) const { return i * stride - pad + k * dilation; }
  bool holds(std::int64_t at) const { return at >= 0 && at < extent; }
};

// x [batch, groups * in, spatial], w [groups * out, in, window], y [batch, groups * out, counts]: always three spatial
// dimensions, the missing ones of extent 1 in front.
struct Geometry {
  std::int64_t batch, groups, in, out;
  Line lines[3];

  Geometry(const Shape& x, const Shape& w, const Shape& y, const Windows& windows, std::int64_t group_count)
      : batch(x[0]), groups(group_count), in(w[1]), out(w[0] / group_count) {
    const int spatial = x.rank() - 2;
    for (int d = 0; d < spatial; ++d) {
      const auto i = static_cast<std::size_t>(d);
      lines[3 - spatial + d] = {.extent = x[d + 2],
                                .window = w[d + 2],
                                .count = y[d + 2],
                                .stride = windows.strides[i],
                                .pad = windows.pad_low[i],
                                .dilation = windows.dilations[i]};
    }
  }

  // Calls f(x, w, y) with the positions of every product there is.
  template <class F>
  void products(F f) const {
    for (std::int64_t n = 0; n < batch; ++n) {
      for (std::int64_t g = 0; g < groups; ++g) {
        for (std::int64_t o = g * out; o < (g + 1) * out; ++o) {
          for (std::int64_t c = 0; c < in; ++c) {
            windows(n * groups * in + g * in + c, o * in + c, n * groups * out + o, f);
          }
        }
      }
    }
  }

 private:
  template <class F>
  void windows(std::int64_t x_plane, std::int64_t w_plane, std::int64_t y_plane, F f) const {
    const auto& [d, h, w] = lines;
    for (std::int64_t i = 0; i < d.count; ++i) {
      for (std::int64_t j = 0; j < h.count; ++j) {
        for (std::int64_t k = 0; k < w.count; ++k) {
          const std::int64_t y = ((y_plane * d.count + i) * h.count + j) * w.count + k;
          for (std::int64_t a = 0; a < d.window; ++a) {
            for (std::int64_t b = 0; b < h.window; ++b) {
              for (std::int64_t e = 0; e < w.window; ++e) {
                const std::int64_t z = d.place(i, a), r = h.place(j, b), q = w.place(k, e);
                if (!d.holds(z) || !h.holds(r) || !w.holds(q)) continue;
                f(static_cast<std::size_t>(((x_plane * d.extent + z) * h.extent + r) * w.extent + q),
                  static_cast<std::size_t>(((w_plane * d.window + a) * h.window + b) * w.window + e),
                  static_cast<std::size_t>(y));
              }
            }
          }
        }
      }
    }
  }
};

std::vector<double> zeros(const Tensor& tensor) {
  return std::vector<double>(static_cast<std::size_t>(tensor.elements()));
}

template <class T>
void convolution_in(const Call& call) {
  const auto& attributes = call.as<ConvolutionAttributes>();
  const Tensor &x = call.inputs[0], &w = call.inputs[1], &y = call.outputs[0];
  const Geometry geometry(x.shape(), w.shape(), y.shape(), attributes.windows, attributes.groups);
  const std::vector<T> from = load<T>(x), weight = load<T>(w);
  std::vector<T> to(static_cast<std::size_t>(y.elements()));
  if (call.inputs.size() == 3) {
    Shape bias_shape = y.shape();
    for (int axis = 0; axis < bias_shape.rank(); ++axis) bias_shape[axis] = axis == 1 ? bias_shape[axis] : 1;
    to = broadcast(load<T>(call.inputs[2]), bias_shape, y.shape());
  }
  geometry.products([&](std::size_t i, std::size_t j, std::size_t k) { to[k] = add(to[k], mul(from[i], weight[j])); });
  store(y, to);
}
void convolution(const Call& call) {
  with_compute_type(call.inputs[0].dtype(), [&call](auto zero) { convolution_in<decltype(zero)>(call); });
}

void input_gradient(const Call& call) {
  const auto& attributes = call.as<ConvolutionGradientAttributes>();
  const Tensor &dy = call.inputs[0], &w = call.inputs[1], &dx = call.outputs[0];
  const Geometry geometry(dx.shape(), w.shape(), dy.shape(), attributes.windows, attributes.groups);
  const std::vector<double> from = load<double>(dy), weight = load<double>(w);
  std::vector<double> to = zeros(dx);
  geometry.products([&](std::size_t i, std::size_t j, std::size_t k) { to[i] += from[k] * weight[j]; });
  store(dx, to);
}

void weight_gradient(const Call& call) {
  const auto& attributes = call.as<ConvolutionGradientAttributes>();
  const Tensor &x = call.inputs[0], &dy = call.inputs[1], &dw = call.outputs[0];
  const Geometry geometry(x.shape(), dw.shape(), dy.shape(), attributes.windows, attributes.groups);
  const std::vector<double> from = load<double>(x), seed = load<double>(dy);
  std::vector<double> to = zeros(dw);
  geometry.products([&](std::size_t i, std::size_t j, std::size_t k) { to[j] += from[i] * seed[k]; });
  store(dw, to);
}

constexpr Row kRows[] = {
    {"convolution", convolution},
    {"convolution_input_gradient", input_gradient},
    {"convolution_weight_gradient", weight_gradient},
};

}  // namespace

std::span<const Row> convolution_rows() { return kRows; }

}  // namespace ml::reference
