// What reference kernels compute on: every operand is read into a dense row-major vector first, and written back last.
//
// So strides and dtypes are known here alone, and a kernel is a plain loop over vectors of double (floating dtypes),
// std::int64_t (signed) or std::uint64_t (unsigned and bool). Reading everything before writing anything also makes
// every kernel safe in place.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "engine/backends/backend.h"

namespace ml::reference {

struct Tensor {
  const Operand* operand;
  std::byte* data;  // null for an output that nobody reads

  const Shape& shape() const { return operand->type.shape; }
  DType dtype() const { return operand->type.dtype; }
  std::int64_t elements() const { return shape().elements(); }
};

using Strides = std::array<std::int64_t, kMaxRank>;  // in elements, one per dimension
Strides dense_strides(const Shape& shape);
// Dense strides of `from` seen as the shape `to` that it broadcasts to: 0 where it repeats.
Strides broadcast_strides(const Shape& from, const Shape& to);

// Calls f(position, offset) for every element of `shape` in row-major order: how many came before, and where the
// strides put it.
template <class F>
void walk(const Shape& shape, const Strides& strides, F f) {
  const std::int64_t count = shape.elements();
  std::array<std::int64_t, kMaxRank> index{};
  std::int64_t offset = 0;
  for (std::int64_t position = 0; position < count; ++position) {
    f(position, offset);
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      offset += strides[i];
      if (++index[i] < shape[axis]) break;
      offset -= strides[i] * shape[axis];
      index[i] = 0;
    }
  }
}

// A shape as [outer, extent, inner] around one axis: how kernels along an axis see a dense tensor.
struct AxisView {
  std::int64_t outer = 1, extent = 1, inner = 1;
  AxisView(const Shape& shape, std::int64_t axis);
  std::size_t position(std::int64_t o, std::int64_t i, std::int64_t n) const {
    return static_cast<std::size_t>((o * extent + i) * inner + n);
  }
};

// The elements, converted as `cast` does. T: double, std::int64_t, std::uint64_t.
template <class T>
std::vector<T> load(const Tensor& tensor);
// Converted back as `cast` does: one rounding, integers wrap. Nothing happens for an output that nobody reads.
template <class T>
void store(const Tensor& tensor, const std::vector<T>& values);
// The same for elements whose meaning does not matter: their bits, zero-extended.
std::vector<std::uint64_t> load_bits(const Tensor& tensor);
void store_bits(const Tensor& tensor, const std::vector<std::uint64_t>& bits);

// Dense values of shape `from` repeated to shape `to`.
template <class T>
std::vector<T> broadcast(const std::vector<T>& values, const Shape& from, const Shape& to) {
  if (from == to) return values;
  std::vector<T> result(static_cast<std::size_t>(to.elements()));
  walk(to, broadcast_strides(from, to), [&](std::int64_t position, std::int64_t offset) {
    result[static_cast<std::size_t>(position)] = values[static_cast<std::size_t>(offset)];
  });
  return result;
}

// Calls f with a zero of the type that computes `dtype`.
template <class F>
void with_compute_type(DType dtype, F f) {
  if (is_floating(dtype))
    f(double{});
  else if (is_signed(dtype))
    f(std::int64_t{});
  else
    f(std::uint64_t{});
}

// False for integers.
template <class T>
bool is_nan(T value) {
  if constexpr (std::is_floating_point_v<T>)
    return std::isnan(value);
  else
    return false;
}

// Arithmetic that wraps for integers.
template <class T, class F>
T wrapping(T a, T b, F f) {
  if constexpr (std::is_same_v<T, std::int64_t>)
    return static_cast<T>(f(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b)));
  else
    return f(a, b);
}
template <class T>
T add(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x + y; });
}
template <class T>
T sub(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x - y; });
}
template <class T>
T mul(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x * y; });
}

}  // namespace ml::reference
