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
  // Narrow dtypes: what weights, activations and scales are stored in. They are moved, compared for equality and cast;
  // arithmetic wants a cast first. In memory each element has a byte of its own, whatever its width: narrower ones lie
  // in the low bits, what is above is ignored when they are read and written as their sign (or zeros). Files pack them.
  f8e4m3fn = 14,    // largest 448, no infinity (OCP FP8, arXiv 2209.05433)
  f8e4m3fnuz = 15,  // largest 240, no infinity, no -0 (arXiv 2206.02915)
  f8e5m2 = 16,      // largest 57344, infinities (OCP FP8)
  f8e5m2fnuz = 17,  // largest 57344, no infinity, no -0
  f8e8m0 = 18,      // 2^-127 to 2^127: the scales of OCP's microscaling formats; neither sign nor zero
  f4e2m1 = 19,      // 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives; neither infinity nor NaN (OCP MX)
  i4 = 20,
  u4 = 21,
  i2 = 22,
  u2 = 23,
};
inline constexpr int kDTypeCount = 23;

enum class DTypeKind : std::uint8_t { boolean, unsigned_integer, signed_integer, floating };

struct DTypeInfo {
  DType dtype;
  std::string_view name;  // as in the text form: "f32"
  std::uint16_t bits;     // width of a value; dtype_size() says what an element takes in memory
  DTypeKind kind;
  DType compute;  // what a fused kernel holds in a register: f32 for narrower floats, i8 and u8 for narrower integers
};

// The row of a dtype; throws ml::Error for a number that is no dtype.
ML_API const DTypeInfo& dtype_info(DType dtype);
// True when `number` is a dtype: what untrusted input is checked with.
ML_API bool is_dtype(std::uint32_t number) noexcept;
// The dtype of that name; throws invalid_argument listing the names there are.
ML_API DType parse_dtype(std::string_view name);

inline std::string_view dtype_name(DType dtype) { return dtype_info(dtype).name; }
// Bytes of one element in memory.
inline std::size_t dtype_size(DType dtype) { return (dtype_info(dtype).bits + 7u) / 8; }
inline bool is_floating(DType dtype) {
  return dtype <= DType::bf16 || (dtype >= DType::f8e4m3fn && dtype <= DType::f4e2m1);
}
inline bool is_integer(DType dtype) {
  return (dtype >= DType::i8 && dtype <= DType::u64) || (dtype >= DType::i4 && dtype <= DType::u2);
}
inline bool is_signed(DType dtype) {
  return dtype <= DType::i64 || is_floating(dtype) || dtype == DType::i4 || dtype == DType::i2;
}
inline bool is_narrow(DType dtype) { return dtype >= DType::f8e4m3fn; }
// Whether derivatives are computed in it.
inline bool is_differentiable(DType dtype) { return dtype <= DType::bf16; }

// Conversions of the 16-bit formats, round to nearest even, NaN stays NaN.
ML_API std::uint16_t f32_to_f16(float value) noexcept;
ML_API float f16_to_f32(std::uint16_t bits) noexcept;
ML_API std::uint16_t f32_to_bf16(float value) noexcept;
inline float bf16_to_f32(std::uint16_t bits) noexcept {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
}
// Conversions of the narrow floats; exact to f32. From it they round to nearest even, f8e8m0 to nearest with ties up.
// What rounds past the largest value, or lies outside of f8e8m0's, becomes infinity where there is one, NaN where there
// is none, and in f4e2m1, which has neither, the largest value (NaN becomes 0).
ML_API std::uint8_t f32_to_narrow(DType dtype, float value);
ML_API float narrow_to_f32(DType dtype, std::uint8_t bits);

}  // namespace ml
