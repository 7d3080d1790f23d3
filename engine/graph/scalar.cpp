#include "engine/graph/scalar.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "engine/graph/narrow.h"

namespace ml {
namespace {

template <class T>
T read(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

bool is_narrow_float(DType dtype) { return is_narrow(dtype) && is_floating(dtype); }

std::int64_t load_narrow_int(DType dtype, const std::byte* at) {
  const std::uint8_t byte = narrow::canonical(dtype, read<std::uint8_t>(at));
  return is_signed(dtype) ? static_cast<std::int8_t>(byte) : byte;
}
void store_narrow_int(DType dtype, std::byte* at, std::int64_t value) {
  *at = static_cast<std::byte>(narrow::canonical(dtype, static_cast<std::uint8_t>(value)));
}
double saturated(DType dtype, double value) {
  const double span = std::exp2(dtype_info(dtype).bits), low = is_signed(dtype) ? -span / 2 : 0;
  return value != value ? 0 : std::clamp(value, low, low + span - 1);
}

}  // namespace

double load_double(DType dtype, const std::byte* at) {
  if (is_narrow_float(dtype)) return narrow_to_f32(dtype, read<std::uint8_t>(at));
  if (is_narrow(dtype)) return static_cast<double>(load_narrow_int(dtype, at));
  return dispatch(dtype, [at](auto tag) -> double {
    using T = decltype(tag);
    if constexpr (std::is_same_v<T, Half>)
      return f16_to_f32(read<std::uint16_t>(at));
    else if constexpr (std::is_same_v<T, BFloat>)
      return bf16_to_f32(read<std::uint16_t>(at));
    else if constexpr (std::is_same_v<T, bool>)
      return read<std::uint8_t>(at) != 0 ? 1 : 0;
    else
      return static_cast<double>(read<T>(at));
  });
}

std::int64_t load_int(DType dtype, const std::byte* at) {
  if (is_narrow_float(dtype)) return truncate_to<std::int64_t>(load_double(dtype, at));
  if (is_narrow(dtype)) return load_narrow_int(dtype, at);
  return dispatch(dtype, [dtype, at](auto tag) -> std::int64_t {
    using T = decltype(tag);
    if constexpr (std::is_same_v<T, bool>)
      return read<std::uint8_t>(at) != 0 ? 1 : 0;
    else if constexpr (std::is_integral_v<T>)
      return static_cast<std::int64_t>(read<T>(at));
    else
      return truncate_to<std::int64_t>(load_double(dtype, at));
  });
}

void store_double(DType dtype, std::byte* at, double value) {
  if (is_narrow_float(dtype)) {
    *at = static_cast<std::byte>(f32_to_narrow(dtype, static_cast<float>(value)));
    return;
  }
  if (is_narrow(dtype)) return store_narrow_int(dtype, at, static_cast<std::int64_t>(saturated(dtype, value)));
  dispatch(dtype, [at, value](auto tag) {
    using T = decltype(tag);
    const auto put = [at](auto element) { std::memcpy(at, &element, sizeof(element)); };
    if constexpr (std::is_same_v<T, Half>)
      put(f32_to_f16(static_cast<float>(value)));
    else if constexpr (std::is_same_v<T, BFloat>)
      put(f32_to_bf16(static_cast<float>(value)));
    else if constexpr (std::is_same_v<T, bool>)
      put(static_cast<std::uint8_t>(value != 0));
    else if constexpr (std::is_integral_v<T>)
      put(truncate_to<T>(value));
    else
      put(static_cast<T>(value));
  });
}

void store_int(DType dtype, std::byte* at, std::int64_t value) {
  if (is_narrow_float(dtype)) return store_double(dtype, at, static_cast<double>(value));
  if (is_narrow(dtype)) return store_narrow_int(dtype, at, value);
  dispatch(dtype, [dtype, at, value](auto tag) {
    using T = decltype(tag);
    const auto put = [at](auto element) { std::memcpy(at, &element, sizeof(element)); };
    if constexpr (std::is_same_v<T, bool>)
      put(static_cast<std::uint8_t>(value != 0));
    else if constexpr (std::is_integral_v<T>)
      put(static_cast<T>(value));
    else
      store_double(dtype, at, static_cast<double>(value));
  });
}

}  // namespace ml
