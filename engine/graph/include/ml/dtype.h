// Element types. Adding one is adding a row to the table in dtype.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ml/export.h"

namespace ml {

// The numbers are those of the ring's ABI (MLRING_F64, ...) and of the file format.
enum class DType : std::uint8_t {
  f64 = 1,
  f32 = 2,
  f16 = 3,   // IEEE 754 binary16
  bf16 = 4,  // upper half of binary32
  i8 = 5,
  i16 = 6,
  i32 = 7,
  i64 = 8,
  u8 = 9,
  u16 = 10,
  u32 = 11,
  u64 = 12,
  boolean = 13,  // one byte, 0 or 1
};
inline constexpr int kDTypeCount = 13;

enum class DTypeKind : std::uint8_t { boolean, unsigned_integer, signed_integer, floating };

struct DTypeInfo {
  DType dtype;
  std::string_view name;  // as in the text form: "f32"
  std::uint16_t bits;     // storage width of one element
  DTypeKind kind;
  DType compute;  // what a fused kernel computes in: f32 for f16 and bf16, itself otherwise
};

// The row of a dtype; throws ml::Error for a number that is no dtype.
ML_API const DTypeInfo& dtype_info(DType dtype);
// True when `number` is a dtype: what untrusted input is checked with.
ML_API bool is_dtype(std::uint32_t number) noexcept;
// The dtype of that name; throws invalid_argument listing the names there are.
ML_API DType parse_dtype(std::string_view name);

inline std::string_view dtype_name(DType dtype) { return dtype_info(dtype).name; }
inline std::size_t dtype_size(DType dtype) { return dtype_info(dtype).bits / 8; }
inline bool is_floating(DType dtype) { return dtype <= DType::bf16; }
inline bool is_integer(DType dtype) { return dtype >= DType::i8 && dtype <= DType::u64; }
inline bool is_signed(DType dtype) { return dtype <= DType::i64; }

// Conversions of the 16-bit formats, round to nearest even, NaN stays NaN.
ML_API std::uint16_t f32_to_f16(float value) noexcept;
ML_API float f16_to_f32(std::uint16_t bits) noexcept;
ML_API std::uint16_t f32_to_bf16(float value) noexcept;
inline float bf16_to_f32(std::uint16_t bits) noexcept {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
}

}  // namespace ml
