// Conversions over tiles: casts between registers, and between memory and registers. What a cast means stands in
// graph/scalar.h.
#include <cstring>
#include <limits>
#include <type_traits>

#include "engine/backends/cpu/loop_tables.h"
#include "engine/backends/cpu/targets.h"
#include "engine/graph/narrow.h"
#include "engine/graph/scalar.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/loop_convert.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// A byte of bool, told apart from u8.
enum class Truth : std::uint8_t {};

template <class To, class From>
To convert(From x) {
  if constexpr (std::is_same_v<To, Truth>) {
    return static_cast<Truth>(x != From{});
  } else if constexpr (std::is_same_v<From, Truth>) {
    return static_cast<To>(static_cast<std::uint8_t>(x));
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if constexpr (sizeof(To) == 8) {
      return truncate_to<To>(static_cast<double>(x));
    } else {
      // Both limits are exact in a double. Selections instead of branches, so that it becomes vectors.
      constexpr double kLow = std::numeric_limits<To>::min(), kHigh = std::numeric_limits<To>::max();
      double value = static_cast<double>(x);
      value = value > kLow ? value : kLow;
      value = value < kHigh ? value : kHigh;
      value = x == x ? value : 0.0;
      return static_cast<To>(static_cast<std::int64_t>(value));
    }
  } else {
    return static_cast<To>(x);
  }
}

template <class From, class To>
void cast(void* out, const void* a, const void*, const void*, std::size_t n) {
  To* const to = static_cast<To*>(out);
  const From* const from = static_cast<const From*>(a);
  ML_INDEPENDENT
  for (std::size_t i = 0; i < n; ++i) to[i] = convert<To>(from[i]);
}

// Rounds floats in place to what f16 or bf16 can hold.
float round_to_bf16(float x) {
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
  const std::uint32_t nan = (bits | 0x400000u) & 0xffff0000u;
  return __builtin_bit_cast(float, x == x ? rounded : nan);
}

void f32_to_halves(std::uint16_t* to, const float* from, std::size_t n) {
  std::size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  const hn::Rebind<std::uint16_t, decltype(d)> du;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    hn::StoreU(hn::BitCast(du, hn::DemoteTo(dh, hn::LoadU(d, from + i))), du, to + i);
  }
#endif
  for (; i < n; ++i) to[i] = f32_to_f16(from[i]);
}
void halves_to_f32(float* to, const std::uint16_t* from, std::size_t n) {
  std::size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  const hn::Rebind<std::uint16_t, decltype(d)> du;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    hn::StoreU(hn::PromoteTo(d, hn::BitCast(dh, hn::LoadU(du, from + i))), d, to + i);
  }
#endif
  for (; i < n; ++i) to[i] = f16_to_f32(from[i]);
}

template <class From, bool half>
void cast_rounding(void* out, const void* a, const void* b, const void* c, std::size_t n) {
  float* const to = static_cast<float*>(out);
  if constexpr (std::is_same_v<From, float>) {
    if (out != a) std::memcpy(out, a, n * sizeof(float));
  } else if constexpr (sizeof(From) <= sizeof(float)) {
    cast<From, float>(out, a, b, c, n);
  } else {
    const From* const from = static_cast<const From*>(a);
    for (std::size_t i = 0; i < n; ++i) to[i] = convert<float>(from[i]);
  }
  if constexpr (half) {
    std::uint16_t bits[64];
    for (std::size_t i = 0; i < n; i += 64) {
      const std::size_t run = n - i < 64 ? n - i : 64;
      f32_to_halves(bits, to + i, run);
      halves_to_f32(to + i, bits, run);
    }
  } else {
    ML_INDEPENDENT
    for (std::size_t i = 0; i < n; ++i) to[i] = round_to_bf16(to[i]);
  }
}

template <DType dtype>
void cast_to_narrow(void* out, const void* a, const void*, const void*, std::size_t n) {
  float* const to = static_cast<float*>(out);
  const float* const from = static_cast<const float*>(a);
  for (std::size_t i = 0; i < n; ++i) to[i] = narrow::kDecoded<dtype>[narrow::encode<dtype>(from[i])];
}
template <class From, int bits, bool is_signed>
void cast_to_low_bits(void* out, const void* a, const void*, const void*, std::size_t n) {
  std::uint8_t* const to = static_cast<std::uint8_t*>(out);
  const From* const from = static_cast<const From*>(a);
  ML_INDEPENDENT
  for (std::size_t i = 0; i < n; ++i) {
    if constexpr (std::is_floating_point_v<From>) {
      constexpr From kLow = is_signed ? -(1 << (bits - 1)) : 0, kHigh = kLow + (1 << bits) - 1;
      From value = from[i] > kLow ? from[i] : kLow;
      value = value < kHigh ? value : kHigh;
      value = from[i] == from[i] ? value : From(0);
      to[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(value));
    } else {
      to[i] = narrow::low_bits<bits, is_signed>(static_cast<std::uint8_t>(from[i]));
    }
  }
}
template <class From>
TileFunction cast_to_narrow_integer(DType to) {
  switch (to) {
    case DType::i4: return cast_to_low_bits<From, 4, true>;
    case DType::u4: return cast_to_low_bits<From, 4, false>;
    case DType::i2: return cast_to_low_bits<From, 2, true>;
    case DType::u2: return cast_to_low_bits<From, 2, false>;
    default: return nullptr;
  }
}
// From the few types that loop programs narrow from.
TileFunction find_narrowing(DType from, DType to) {
  switch (to) {
    case DType::f8e4m3fn: return cast_to_narrow<DType::f8e4m3fn>;
    case DType::f8e4m3fnuz: return cast_to_narrow<DType::f8e4m3fnuz>;
    case DType::f8e5m2: return cast_to_narrow<DType::f8e5m2>;
    case DType::f8e5m2fnuz: return cast_to_narrow<DType::f8e5m2fnuz>;
    case DType::f8e8m0: return cast_to_narrow<DType::f8e8m0>;
    case DType::f4e2m1: return cast_to_narrow<DType::f4e2m1>;
    default: break;
  }
  switch (dtype_info(from).compute) {
    case DType::f64: return cast_to_narrow_integer<double>(to);
    case DType::f32: return cast_to_narrow_integer<float>(to);
    default: return cast_to_narrow_integer<std::uint8_t>(to);
  }
}

template <class From>
TileFunction cast_from(DType to) {
  switch (to) {
    case DType::f64: return cast<From, double>;
    case DType::f32: return cast<From, float>;
    case DType::f16: return cast_rounding<From, true>;
    case DType::bf16: return cast_rounding<From, false>;
    case DType::i8: return cast<From, std::int8_t>;
    case DType::i16: return cast<From, std::int16_t>;
    case DType::i32: return cast<From, std::int32_t>;
    case DType::i64: return cast<From, std::int64_t>;
    case DType::u8: return cast<From, std::uint8_t>;
    case DType::u16: return cast<From, std::uint16_t>;
    case DType::u32: return cast<From, std::uint32_t>;
    case DType::u64: return cast<From, std::uint64_t>;
    case DType::boolean: return cast<From, Truth>;
    default: return nullptr;
  }
}

template <class T>
void read(void* out, const void* in, std::ptrdiff_t stride, std::size_t n) {
  T* const to = static_cast<T*>(out);
  const T* const from = static_cast<const T*>(in);
  if (stride == 1) {
    std::memcpy(to, from, n * sizeof(T));
  } else if (stride == 0) {
    const T value = n > 0 ? *from : T{};
    for (std::size_t i = 0; i < n; ++i) to[i] = value;
  } else {
    for (std::size_t i = 0; i < n; ++i) to[i] = from[static_cast<std::ptrdiff_t>(i) * stride];
  }
}
template <class T>
void write(void* out, std::ptrdiff_t stride, const void* in, std::size_t n) {
  T* const to = static_cast<T*>(out);
  const T* const from = static_cast<const T*>(in);
  if (stride == 1) {
    std::memcpy(to, from, n * sizeof(T));
  } else {
    for (std::size_t i = 0; i < n; ++i) to[static_cast<std::ptrdiff_t>(i) * stride] = from[i];
  }
}

// The 16-bit formats, strided ones through a dense run.
template <bool half>
void read_half(void* out, const void* in, std::ptrdiff_t stride, std::size_t n) {
  float* const to = static_cast<float*>(out);
  const std::uint16_t* from = static_cast<const std::uint16_t*>(in);
  if (stride == 0) {
    const float value = n == 0 ? 0 : half ? f16_to_f32(*from) : bf16_to_f32(*from);
    for (std::size_t i = 0; i < n; ++i) to[i] = value;
    return;
  }
  std::uint16_t bits[64];
  for (std::size_t i = 0; i < n; i += 64) {
    const std::size_t run = n - i < 64 ? n - i : 64;
    read<std::uint16_t>(bits, from + static_cast<std::ptrdiff_t>(i) * stride, stride, run);
    if constexpr (half) {
      halves_to_f32(to + i, bits, run);
    } else {
      for (std::size_t k = 0; k < run; ++k) to[i + k] = bf16_to_f32(bits[k]);
    }
  }
}
template <bool half>
void write_half(void* out, std::ptrdiff_t stride, const void* in, std::size_t n) {
  std::uint16_t* const to = static_cast<std::uint16_t*>(out);
  const float* const from = static_cast<const float*>(in);
  std::uint16_t bits[64];
  for (std::size_t i = 0; i < n; i += 64) {
    const std::size_t run = n - i < 64 ? n - i : 64;
    if constexpr (half) {
      f32_to_halves(bits, from + i, run);
    } else {
      for (std::size_t k = 0; k < run; ++k) {
        bits[k] = static_cast<std::uint16_t>(__builtin_bit_cast(std::uint32_t, round_to_bf16(from[i + k])) >> 16);
      }
    }
    write<std::uint16_t>(to + static_cast<std::ptrdiff_t>(i) * stride, stride, bits, run);
  }
}

// Narrow dtypes: what lies above an element's bits in its byte does not count.
template <DType dtype>
void read_narrow(void* out, const void* in, std::ptrdiff_t stride, std::size_t n) {
  float* const to = static_cast<float*>(out);
  const std::uint8_t* const from = static_cast<const std::uint8_t*>(in);
  for (std::size_t i = 0; i < n; ++i) to[i] = narrow::kDecoded<dtype>[from[static_cast<std::ptrdiff_t>(i) * stride]];
}
template <DType dtype>
void write_narrow(void* out, std::ptrdiff_t stride, const void* in, std::size_t n) {
  std::uint8_t* const to = static_cast<std::uint8_t*>(out);
  const float* const from = static_cast<const float*>(in);
  for (std::size_t i = 0; i < n; ++i) to[static_cast<std::ptrdiff_t>(i) * stride] = narrow::encode<dtype>(from[i]);
}
template <int bits, bool is_signed>
void read_low_bits(void* out, const void* in, std::ptrdiff_t stride, std::size_t n) {
  std::uint8_t* const to = static_cast<std::uint8_t*>(out);
  const std::uint8_t* const from = static_cast<const std::uint8_t*>(in);
  for (std::size_t i = 0; i < n; ++i)
    to[i] = narrow::low_bits<bits, is_signed>(from[static_cast<std::ptrdiff_t>(i) * stride]);
}

}  // namespace

TileFunction find_cast(DType from, DType to) {
  if (is_narrow(to)) return find_narrowing(from, to);
  switch (dtype_info(from).compute) {
    case DType::f64: return cast_from<double>(to);
    case DType::f32: return cast_from<float>(to);
    case DType::i8: return cast_from<std::int8_t>(to);
    case DType::i16: return cast_from<std::int16_t>(to);
    case DType::i32: return cast_from<std::int32_t>(to);
    case DType::i64: return cast_from<std::int64_t>(to);
    case DType::u8: return cast_from<std::uint8_t>(to);
    case DType::u16: return cast_from<std::uint16_t>(to);
    case DType::u32: return cast_from<std::uint32_t>(to);
    case DType::u64: return cast_from<std::uint64_t>(to);
    case DType::boolean: return cast_from<Truth>(to);
    default: return nullptr;
  }
}

ReadFunction find_read(DType dtype) {
  if (dtype == DType::f16) return read_half<true>;
  if (dtype == DType::bf16) return read_half<false>;
  switch (dtype) {
    case DType::f8e4m3fn: return read_narrow<DType::f8e4m3fn>;
    case DType::f8e4m3fnuz: return read_narrow<DType::f8e4m3fnuz>;
    case DType::f8e5m2: return read_narrow<DType::f8e5m2>;
    case DType::f8e5m2fnuz: return read_narrow<DType::f8e5m2fnuz>;
    case DType::f8e8m0: return read_narrow<DType::f8e8m0>;
    case DType::f4e2m1: return read_narrow<DType::f4e2m1>;
    case DType::i4: return read_low_bits<4, true>;
    case DType::u4: return read_low_bits<4, false>;
    case DType::i2: return read_low_bits<2, true>;
    case DType::u2: return read_low_bits<2, false>;
    default: break;
  }
  switch (dtype_size(dtype)) {
    case 1: return read<std::uint8_t>;
    case 2: return read<std::uint16_t>;
    case 4: return read<std::uint32_t>;
    default: return read<std::uint64_t>;
  }
}

WriteFunction find_write(DType dtype) {
  if (dtype == DType::f16) return write_half<true>;
  if (dtype == DType::bf16) return write_half<false>;
  switch (dtype) {
    case DType::f8e4m3fn: return write_narrow<DType::f8e4m3fn>;
    case DType::f8e4m3fnuz: return write_narrow<DType::f8e4m3fnuz>;
    case DType::f8e5m2: return write_narrow<DType::f8e5m2>;
    case DType::f8e5m2fnuz: return write_narrow<DType::f8e5m2fnuz>;
    case DType::f8e8m0: return write_narrow<DType::f8e8m0>;
    case DType::f4e2m1: return write_narrow<DType::f4e2m1>;
    default: break;  // narrow integers are held as they are stored
  }
  switch (dtype_size(dtype)) {
    case 1: return write<std::uint8_t>;
    case 2: return write<std::uint16_t>;
    case 4: return write<std::uint32_t>;
    default: return write<std::uint64_t>;
  }
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {

HWY_EXPORT(find_cast);
HWY_EXPORT(find_read);
HWY_EXPORT(find_write);

TileFunction cast_function(DType from, DType to) { return HWY_DYNAMIC_DISPATCH(find_cast)(from, to); }
ReadFunction read_function(DType dtype) { return HWY_DYNAMIC_DISPATCH(find_read)(dtype); }
WriteFunction write_function(DType dtype) { return HWY_DYNAMIC_DISPATCH(find_write)(dtype); }

}  // namespace ml::cpu
#endif  // HWY_ONCE
