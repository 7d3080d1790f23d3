// The narrow dtypes in code: floats of 8 and 4 bits, integers of 4 and 2, and how files pack those below a byte.
//
// Written without branches that depend on a value, so that loops over them become vectors.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ml/dtype.h"

namespace ml::narrow {

// A float with a sign, an exponent and `mantissa` bits below it.
struct Format {
  int mantissa, bias;
  float overflow;          // the least magnitude that rounds past the largest value
  std::uint8_t sign;       // its bit
  std::uint8_t past;       // what such a magnitude becomes, without its sign
  std::uint8_t infinity;   // 0: there is none
  std::uint8_t nan;        // the usual one, 0: there is none
  std::uint8_t first_nan;  // NaN from this magnitude on
  bool unsigned_zero;      // the bits of -0 are NaN, the only one
};

template <DType dtype>
constexpr Format format() {
  // Halfway to the next value rounds to even: up from an odd largest value, down from 448.
  if constexpr (dtype == DType::f8e4m3fn) return {3, 7, 0x1.d00002p8F, 0x80, 0x7f, 0, 0x7f, 0x7f, false};
  if constexpr (dtype == DType::f8e4m3fnuz) return {3, 8, 248, 0x80, 0x80, 0, 0x80, 0x80, true};
  if constexpr (dtype == DType::f8e5m2) return {2, 15, 61440, 0x80, 0x7c, 0x7c, 0x7e, 0x7d, false};
  if constexpr (dtype == DType::f8e5m2fnuz) return {2, 16, 61440, 0x80, 0x80, 0, 0x80, 0x80, true};
  if constexpr (dtype == DType::f4e2m1) return {1, 1, 7, 0x08, 0x07, 0, 0x00, 0x08, false};
}

constexpr std::uint8_t encode_e8m0(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  // Below 2^-126 f32 has no leading one: there the bit of 2^-127 counts, and half of it the next one.
  const std::uint32_t rounded = bits < 0x00800000u ? (bits >= 0x00600000u ? 1 : 0) : (bits + 0x00400000u) >> 23;
  return bits < 0x00400000u || bits > 0x7f800000u || rounded > 0xff ? 0xff : static_cast<std::uint8_t>(rounded);
}

template <DType dtype>
constexpr std::uint8_t encode(float value) {
  if constexpr (dtype == DType::f8e8m0) {
    return encode_e8m0(value);
  } else {
    constexpr Format f = format<dtype>();
    // Added to a subnormal it puts the significand where its last bit weighs as much as in the result, and rounds.
    constexpr auto shift = std::bit_cast<float>(static_cast<std::uint32_t>(127 + 24 - f.bias - f.mantissa) << 23);
    constexpr auto least_normal = static_cast<std::uint32_t>(128 - f.bias) << 23;
    constexpr int dropped = 23 - f.mantissa;
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    const std::uint32_t subnormal =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + shift) - std::bit_cast<std::uint32_t>(shift);
    const std::uint32_t normal = (magnitude - (static_cast<std::uint32_t>(127 - f.bias) << 23) +
                                  ((1u << (dropped - 1)) - 1u) + ((magnitude >> dropped) & 1u)) >>
                                 dropped;
    std::uint32_t code = magnitude < least_normal ? subnormal : normal;
    code = magnitude >= std::bit_cast<std::uint32_t>(f.overflow) ? f.past : code;
    code = magnitude > 0x7f800000u ? f.nan : code;
    std::uint32_t sign = bits >> 31 != 0 ? f.sign : 0u;
    if constexpr (f.unsigned_zero) sign = code == 0 ? 0u : sign;
    if constexpr (f.nan == 0) sign = magnitude > 0x7f800000u ? 0u : sign;  // NaN is 0 then
    return static_cast<std::uint8_t>(code | sign);
  }
}

template <DType dtype>
constexpr float decode(std::uint8_t bits) {
  if constexpr (dtype == DType::f8e8m0) {
    const std::uint32_t exponent = bits;
    return std::bit_cast<float>(exponent == 0xff ? 0x7fc00000u : exponent == 0 ? 0x00400000u : exponent << 23);
  } else {
    constexpr Format f = format<dtype>();
    const std::uint32_t sign = (bits & f.sign) != 0 ? 0x80000000u : 0u;
    const std::uint32_t magnitude = bits & (f.sign - 1u);
    const bool nan = f.unsigned_zero ? sign != 0 && magnitude == 0 : magnitude >= f.first_nan;
    if (nan) return std::bit_cast<float>((f.unsigned_zero ? 0u : sign) | 0x7fc00000u);
    if (f.infinity != 0 && magnitude == f.infinity) return std::bit_cast<float>(sign | 0x7f800000u);
    const std::uint32_t exponent = magnitude >> f.mantissa;
    const std::uint32_t significand = magnitude & ((1u << f.mantissa) - 1u);
    if (exponent == 0) {
      const auto least = std::bit_cast<float>(static_cast<std::uint32_t>(128 - f.bias - f.mantissa) << 23);
      return std::bit_cast<float>(std::bit_cast<std::uint32_t>(static_cast<float>(significand) * least) | sign);
    }
    return std::bit_cast<float>(sign | ((exponent + static_cast<std::uint32_t>(127 - f.bias)) << 23) |
                                (significand << (23 - f.mantissa)));
  }
}

// What each byte is.
template <DType dtype>
inline constexpr std::array<float, 256> kDecoded = [] {
  std::array<float, 256> table{};
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = decode<dtype>(static_cast<std::uint8_t>(i));
  return table;
}();

// An integer of `bits` bits: the low ones of `value`, as its sign or zeros continue them.
template <int bits, bool is_signed>
constexpr std::uint8_t low_bits(std::uint8_t value) {
  if constexpr (is_signed) {
    return static_cast<std::uint8_t>(static_cast<std::int8_t>(static_cast<std::uint8_t>(value << (8 - bits))) >>
                                     (8 - bits));
  } else {
    return value & ((1u << bits) - 1u);
  }
}

// The largest finite value of a float.
float largest(DType dtype);

// The byte that stands for the same element and that storing would have written. Every byte is one of f8.
std::uint8_t canonical(DType dtype, std::uint8_t byte);

// Dense elements below a byte as files hold them: from the low bits of each byte up, the last one filled with zeros.
std::uint64_t packed_size(DType dtype, std::uint64_t elements);
std::vector<std::byte> pack(DType dtype, std::span<const std::byte> elements);
// `packed` has packed_size(dtype, elements) bytes.
std::vector<std::byte> unpack(DType dtype, std::span<const std::byte> packed, std::uint64_t elements);

}  // namespace ml::narrow
