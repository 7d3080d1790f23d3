#include <algorithm>

#include "libmlclient/tensor/call.h"
#include "libmlclient/tensor/promote.h"
#include "ml/ops.h"

namespace ml {

using client::need;
using client::record_with;
using Vars = std::span<const Var>;

namespace {

// Bools and integers are summed and multiplied as i64, unsigned 64-bit ones as they are.
Tensor accumulable(const Tensor& x, const char* what) {
  const DType dtype = need(x, what)->type.dtype;
  return is_floating(dtype) || dtype == DType::u64 ? x : x.to(DType::i64);
}
Tensor floating(const Tensor& x, const char* what) { return x.to(client::to_floating(need(x, what)->type.dtype)); }

}  // namespace

Tensor sum(const Tensor& x, const Axes& axes, bool keep_dims) {
  return record_with({accumulable(x, "sum")}, [&](Vars v) { return reduce_sum(v[0], axes, keep_dims); });
}
Tensor mean(const Tensor& x, const Axes& axes, bool keep_dims) {
  return record_with({floating(x, "mean")}, [&](Vars v) { return reduce_mean(v[0], axes, keep_dims); });
}
Tensor prod(const Tensor& x, const Axes& axes, bool keep_dims) {
  return record_with({accumulable(x, "prod")}, [&](Vars v) { return reduce_prod(v[0], axes, keep_dims); });
}
Tensor max(const Tensor& x, const Axes& axes, bool keep_dims) {
  return record_with({x}, [&](Vars v) { return reduce_max(v[0], axes, keep_dims); });
}
Tensor min(const Tensor& x, const Axes& axes, bool keep_dims) {
  return record_with({x}, [&](Vars v) { return reduce_min(v[0], axes, keep_dims); });
}

Tensor var(const Tensor& x, const Axes& axes, bool unbiased, bool keep_dims) {
  const Tensor values = floating(x, "var");
  const Tensor squares = square(values - mean(values, axes, true));
  if (!unbiased) return mean(squares, axes, keep_dims);
  std::int64_t count = 1;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const bool reduced = axes.empty() || std::ranges::any_of(axes, [&](std::int64_t wanted) {
                           return normalize_axis(wanted, x.rank(), "var: axis") == axis;
                         });
    if (reduced) count *= x.size(axis);
  }
  return sum(squares, axes, keep_dims) / std::max<double>(0, static_cast<double>(count) - 1);
}

Tensor argmax(const Tensor& x, int axis, bool keep_dims) {
  return record_with({x}, [&](Vars v) { return argmax(v[0], axis, keep_dims); });
}
Tensor argmin(const Tensor& x, int axis, bool keep_dims) {
  return record_with({x}, [&](Vars v) { return argmin(v[0], axis, keep_dims); });
}
Tensor cumsum(const Tensor& x, int axis) {
  return record_with({accumulable(x, "cumsum")}, [&](Vars v) { return cumsum(v[0], axis); });
}

bool allclose(const Tensor& a, const Tensor& b, double relative, double absolute) {
  const Tensor x = a.to(DType::f64), y = b.to(DType::f64);
  const Tensor close = (x == y) | (abs(x - y) <= absolute + relative * abs(y));
  return min(close.to(DType::i32)).item<int>() == 1 || close.elements() == 0;
}

}  // namespace ml
