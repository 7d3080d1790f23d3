#include "engine/backends/reference/tensor.h"

#include <cstring>

#include "engine/graph/scalar.h"

namespace ml::reference {
namespace {

template <class T>
struct Stored {
  using type = T;
};
template <>
struct Stored<bool> {
  using type = std::uint8_t;
};
template <>
struct Stored<Half> {
  using type = std::uint16_t;
};
template <>
struct Stored<BFloat> {
  using type = std::uint16_t;
};

// From a dtype to what it computes in, exactly.
template <class Element>
auto widen(typename Stored<Element>::type stored) {
  if constexpr (std::is_same_v<Element, Half>)
    return static_cast<double>(f16_to_f32(stored));
  else if constexpr (std::is_same_v<Element, BFloat>)
    return static_cast<double>(bf16_to_f32(stored));
  else if constexpr (std::is_same_v<Element, bool>)
    return static_cast<std::uint64_t>(stored != 0);
  else if constexpr (std::is_floating_point_v<Element>)
    return static_cast<double>(stored);
  else if constexpr (std::is_signed_v<Element>)
    return static_cast<std::int64_t>(stored);
  else
    return static_cast<std::uint64_t>(stored);
}

// The one conversion there is: what `cast` means.
template <class To, class From>
To convert(From value) {
  if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>)
    return truncate_to<To>(value);
  else
    return static_cast<To>(value);
}

template <class Element, class From>
typename Stored<Element>::type narrow(From value) {
  if constexpr (std::is_same_v<Element, Half>)
    return f32_to_f16(static_cast<float>(value));
  else if constexpr (std::is_same_v<Element, BFloat>)
    return f32_to_bf16(static_cast<float>(value));
  else if constexpr (std::is_same_v<Element, bool>)
    return value != 0 ? 1 : 0;
  else
    return convert<Element>(value);
}

Strides strides_of(const Tensor& tensor) {
  Strides strides{};
  for (std::size_t i = 0; i < tensor.operand->layout.strides.size(); ++i)
    strides[i] = tensor.operand->layout.strides[i];
  return strides;
}

template <class T>
std::vector<T> load_raw(const Tensor& tensor) {
  std::vector<T> values(static_cast<std::size_t>(tensor.elements()));
  walk(tensor.shape(), strides_of(tensor), [&](std::int64_t position, std::int64_t offset) {
    std::memcpy(&values[static_cast<std::size_t>(position)], tensor.data + offset * std::int64_t{sizeof(T)}, sizeof(T));
  });
  return values;
}
template <class T>
void store_raw(const Tensor& tensor, const std::vector<T>& values) {
  if (!tensor.data) return;
  walk(tensor.shape(), strides_of(tensor), [&](std::int64_t position, std::int64_t offset) {
    std::memcpy(tensor.data + offset * std::int64_t{sizeof(T)}, &values[static_cast<std::size_t>(position)], sizeof(T));
  });
}

template <class T>
std::vector<T> load_narrow(const Tensor& tensor) {
  const std::vector<std::byte> raw = load_raw<std::byte>(tensor);
  std::vector<T> values(raw.size());
  for (std::size_t i = 0; i < raw.size(); ++i) {
    values[i] = is_floating(tensor.dtype()) ? convert<T>(load_double(tensor.dtype(), &raw[i]))
                                            : convert<T>(load_int(tensor.dtype(), &raw[i]));
  }
  return values;
}
// Floats take a float, integers saturate floats and wrap integers.
template <class T>
void store_narrow(const Tensor& tensor, const std::vector<T>& values) {
  std::vector<std::byte> raw(values.size());
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (is_floating(tensor.dtype()))
      raw[i] = static_cast<std::byte>(f32_to_narrow(tensor.dtype(), static_cast<float>(values[i])));
    else if constexpr (std::is_floating_point_v<T>)
      store_double(tensor.dtype(), &raw[i], values[i]);
    else
      store_int(tensor.dtype(), &raw[i], static_cast<std::int64_t>(values[i]));
  }
  store_raw(tensor, raw);
}

template <class To, class From>
std::vector<To> widen_all(const std::vector<From>& from) {
  return {from.begin(), from.end()};
}
template <class T>
void store_low_bits(const Tensor& tensor, const std::vector<std::uint64_t>& bits) {
  std::vector<T> narrowed(bits.size());
  for (std::size_t i = 0; i < bits.size(); ++i) narrowed[i] = static_cast<T>(bits[i]);
  store_raw(tensor, narrowed);
}

}  // namespace

Strides dense_strides(const Shape& shape) { return broadcast_strides(shape, shape); }

Strides broadcast_strides(const Shape& from, const Shape& to) {
  Strides strides{};
  std::int64_t stride = 1;
  for (int axis = from.rank() - 1; axis >= 0; --axis) {
    const int target = axis + to.rank() - from.rank();
    strides[static_cast<std::size_t>(target)] = from[axis] == to[target] ? stride : 0;
    stride *= from[axis];
  }
  return strides;
}

AxisView::AxisView(const Shape& shape, std::int64_t axis) {
  const int at = normalize_axis(axis, shape.rank(), "axis");
  for (int i = 0; i < at; ++i) outer *= shape[i];
  extent = shape[at];
  for (int i = at + 1; i < shape.rank(); ++i) inner *= shape[i];
}

template <class T>
std::vector<T> load(const Tensor& tensor) {
  if (is_narrow(tensor.dtype())) return load_narrow<T>(tensor);
  return dispatch(tensor.dtype(), [&tensor](auto tag) {
    using Element = decltype(tag);
    const auto raw = load_raw<typename Stored<Element>::type>(tensor);
    std::vector<T> values(raw.size());
    for (std::size_t i = 0; i < raw.size(); ++i) values[i] = convert<T>(widen<Element>(raw[i]));
    return values;
  });
}

template <class T>
void store(const Tensor& tensor, const std::vector<T>& values) {
  if (!tensor.data) return;
  if (is_narrow(tensor.dtype())) return store_narrow(tensor, values);
  dispatch(tensor.dtype(), [&](auto tag) {
    using Element = decltype(tag);
    std::vector<typename Stored<Element>::type> raw(values.size());
    for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = narrow<Element>(values[i]);
    store_raw(tensor, raw);
  });
}

template std::vector<double> load(const Tensor&);
template std::vector<std::int64_t> load(const Tensor&);
template std::vector<std::uint64_t> load(const Tensor&);
template void store(const Tensor&, const std::vector<double>&);
template void store(const Tensor&, const std::vector<std::int64_t>&);
template void store(const Tensor&, const std::vector<std::uint64_t>&);

std::vector<std::uint64_t> load_bits(const Tensor& tensor) {
  switch (dtype_size(tensor.dtype())) {
    case 1: return widen_all<std::uint64_t>(load_raw<std::uint8_t>(tensor));
    case 2: return widen_all<std::uint64_t>(load_raw<std::uint16_t>(tensor));
    case 4: return widen_all<std::uint64_t>(load_raw<std::uint32_t>(tensor));
    default: return load_raw<std::uint64_t>(tensor);
  }
}

void store_bits(const Tensor& tensor, const std::vector<std::uint64_t>& bits) {
  switch (dtype_size(tensor.dtype())) {
    case 1: return store_low_bits<std::uint8_t>(tensor, bits);
    case 2: return store_low_bits<std::uint16_t>(tensor, bits);
    case 4: return store_low_bits<std::uint32_t>(tensor, bits);
    default: return store_raw(tensor, bits);
  }
}

}  // namespace ml::reference
