#include "engine/graph/narrow.h"

#include <algorithm>
#include <string>

#include "ml/error.h"

namespace ml {
namespace narrow {
namespace {

[[noreturn]] void refuse(DType dtype) {
  throw Error(Code::internal, std::string(dtype_name(dtype)) + " is no narrow dtype of this kind");
}

}  // namespace

float largest(DType dtype) {
  switch (dtype) {
    case DType::f8e4m3fn: return 448;
    case DType::f8e4m3fnuz: return 240;
    case DType::f8e5m2:
    case DType::f8e5m2fnuz: return 57344;
    case DType::f8e8m0: return 0x1p127F;
    case DType::f4e2m1: return 6;
    default: refuse(dtype);
  }
}

std::uint8_t canonical(DType dtype, std::uint8_t byte) {
  switch (dtype) {
    case DType::f4e2m1:
    case DType::u4: return low_bits<4, false>(byte);
    case DType::i4: return low_bits<4, true>(byte);
    case DType::u2: return low_bits<2, false>(byte);
    case DType::i2: return low_bits<2, true>(byte);
    default: return byte;
  }
}

std::uint64_t packed_size(DType dtype, std::uint64_t elements) {
  const std::uint64_t per_byte = 8u / dtype_info(dtype).bits;
  return elements / per_byte + (elements % per_byte != 0 ? 1 : 0);
}

std::vector<std::byte> pack(DType dtype, std::span<const std::byte> elements) {
  const unsigned bits = dtype_info(dtype).bits, per_byte = 8u / bits;
  const auto mask = static_cast<std::byte>((1u << bits) - 1u);
  std::vector<std::byte> packed(packed_size(dtype, elements.size()));
  for (std::size_t i = 0; i < elements.size(); ++i)
    packed[i / per_byte] |= (elements[i] & mask) << (i % per_byte * bits);
  return packed;
}

std::vector<std::byte> unpack(DType dtype, std::span<const std::byte> packed, std::uint64_t elements) {
  const unsigned bits = dtype_info(dtype).bits, per_byte = 8u / bits;
  std::vector<std::byte> unpacked(elements);
  for (std::size_t i = 0; i < unpacked.size(); ++i) {
    const auto shifted = std::to_integer<std::uint8_t>(packed[i / per_byte] >> (i % per_byte * bits));
    unpacked[i] = static_cast<std::byte>(canonical(dtype, shifted));
  }
  return unpacked;
}

}  // namespace narrow

std::uint8_t f32_to_narrow(DType dtype, float value) {
  switch (dtype) {
    case DType::f8e4m3fn: return narrow::encode<DType::f8e4m3fn>(value);
    case DType::f8e4m3fnuz: return narrow::encode<DType::f8e4m3fnuz>(value);
    case DType::f8e5m2: return narrow::encode<DType::f8e5m2>(value);
    case DType::f8e5m2fnuz: return narrow::encode<DType::f8e5m2fnuz>(value);
    case DType::f8e8m0: return narrow::encode<DType::f8e8m0>(value);
    case DType::f4e2m1: return narrow::encode<DType::f4e2m1>(value);
    default: narrow::refuse(dtype);
  }
}

float narrow_to_f32(DType dtype, std::uint8_t bits) {
  switch (dtype) {
    case DType::f8e4m3fn: return narrow::kDecoded<DType::f8e4m3fn>[bits];
    case DType::f8e4m3fnuz: return narrow::kDecoded<DType::f8e4m3fnuz>[bits];
    case DType::f8e5m2: return narrow::kDecoded<DType::f8e5m2>[bits];
    case DType::f8e5m2fnuz: return narrow::kDecoded<DType::f8e5m2fnuz>[bits];
    case DType::f8e8m0: return narrow::kDecoded<DType::f8e8m0>[bits];
    case DType::f4e2m1: return narrow::kDecoded<DType::f4e2m1>[bits];
    default: narrow::refuse(dtype);
  }
}

}  // namespace ml
