// Reading and writing one element of any dtype: for constants, folding, printing and the reference backend. Not fast.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "ml/dtype.h"
#include "ml/error.h"

namespace ml {

// The element as a double (64-bit integers round) or as an integer (floats truncate, out of range saturates, NaN is 0;
// u64 keeps its bits).
double load_double(DType dtype, const std::byte* at);
std::int64_t load_int(DType dtype, const std::byte* at);
// Converts as cast does: floats round to nearest even, floats to integers truncate and saturate, integers to integers
// wrap, bool is "not zero". Narrow floats get what f32_to_narrow makes of the value as f32.
void store_double(DType dtype, std::byte* at, double value);
void store_int(DType dtype, std::byte* at, std::int64_t value);

// Calls f with a value of the C++ type that holds `dtype` in memory: f(float{}), f(std::int8_t{}), ... f16 and bf16
// come as the tag types below, bool as `bool`. Not for narrow dtypes: no kernel computes in them.
struct Half {
  std::uint16_t bits;
};
struct BFloat {
  std::uint16_t bits;
};

template <class F>
decltype(auto) dispatch(DType dtype, F&& f) {
  switch (dtype) {
    case DType::boolean: return f(bool{});
    case DType::u8: return f(std::uint8_t{});
    case DType::i8: return f(std::int8_t{});
    case DType::u16: return f(std::uint16_t{});
    case DType::i16: return f(std::int16_t{});
    case DType::u32: return f(std::uint32_t{});
    case DType::i32: return f(std::int32_t{});
    case DType::u64: return f(std::uint64_t{});
    case DType::i64: return f(std::int64_t{});
    case DType::f16: return f(Half{});
    case DType::bf16: return f(BFloat{});
    case DType::f32: return f(float{});
    case DType::f64: return f(double{});
    default: break;
  }
  throw Error(Code::internal, std::string(dtype_name(dtype)) + " is not computed in");
}

// Saturating truncation of a float to an integer type, NaN becomes 0: what cast means everywhere.
template <class Int>
Int truncate_to(double value) {
  constexpr double low = static_cast<double>(std::numeric_limits<Int>::min());
  constexpr double high = static_cast<double>(std::numeric_limits<Int>::max());
  if (value != value) return 0;
  if (value <= low) return std::numeric_limits<Int>::min();
  if (value >= high) return std::numeric_limits<Int>::max();
  return static_cast<Int>(value);
}

}  // namespace ml
