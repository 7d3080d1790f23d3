#include "ml/dtype.h"

#include <array>
#include <bit>
#include <string>

#include "ml/error.h"

namespace ml {
namespace {

using enum DType;
constexpr std::array<DTypeInfo, kDTypeCount> kTable = {{
    {f64, "f64", 64, DTypeKind::floating, f64},
    {f32, "f32", 32, DTypeKind::floating, f32},
    {f16, "f16", 16, DTypeKind::floating, f32},
    {bf16, "bf16", 16, DTypeKind::floating, f32},
    {i8, "i8", 8, DTypeKind::signed_integer, i8},
    {i16, "i16", 16, DTypeKind::signed_integer, i16},
    {i32, "i32", 32, DTypeKind::signed_integer, i32},
    {i64, "i64", 64, DTypeKind::signed_integer, i64},
    {u8, "u8", 8, DTypeKind::unsigned_integer, u8},
    {u16, "u16", 16, DTypeKind::unsigned_integer, u16},
    {u32, "u32", 32, DTypeKind::unsigned_integer, u32},
    {u64, "u64", 64, DTypeKind::unsigned_integer, u64},
    {boolean, "bool", 8, DTypeKind::boolean, boolean},
    {f8e4m3fn, "f8e4m3fn", 8, DTypeKind::floating, f32},
    {f8e4m3fnuz, "f8e4m3fnuz", 8, DTypeKind::floating, f32},
    {f8e5m2, "f8e5m2", 8, DTypeKind::floating, f32},
    {f8e5m2fnuz, "f8e5m2fnuz", 8, DTypeKind::floating, f32},
    {f8e8m0, "f8e8m0", 8, DTypeKind::floating, f32},
    {f4e2m1, "f4e2m1", 4, DTypeKind::floating, f32},
    {i4, "i4", 4, DTypeKind::signed_integer, i8},
    {u4, "u4", 4, DTypeKind::unsigned_integer, u8},
    {i2, "i2", 2, DTypeKind::signed_integer, i8},
    {u2, "u2", 2, DTypeKind::unsigned_integer, u8},
}};

}  // namespace

bool is_dtype(std::uint32_t number) noexcept { return number >= 1 && number <= kDTypeCount; }

const DTypeInfo& dtype_info(DType dtype) {
  const auto number = static_cast<std::uint32_t>(dtype);
  if (!is_dtype(number))
    throw Error(Code::invalid_argument, "dtype number " + std::to_string(number) + " does not exist");
  return kTable[number - 1];
}

DType parse_dtype(std::string_view name) {
  std::string known;
  for (const DTypeInfo& row : kTable) {
    if (row.name == name) return row.dtype;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  throw Error(Code::invalid_argument, "unknown dtype '" + std::string(name) + "'", {}, "one of " + known);
}

std::uint16_t f32_to_f16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds past 65504
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 0.5 puts the 24-bit significand where its last bit weighs 2^-24, and rounds it there.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
  }
  const std::uint32_t rounded = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | (rounded >> 13));
}

float f16_to_f32(std::uint16_t bits) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

std::uint16_t f32_to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace ml
