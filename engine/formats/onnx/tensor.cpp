#include "engine/formats/onnx/tensor.h"

#include <array>
#include <cstring>
#include <string_view>
#include <vector>

#include "engine/formats/onnx/onnx.pb.h"
#include "engine/graph/narrow.h"
#include "engine/graph/scalar.h"
#include "ml/error.h"

namespace ml::onnx {
namespace {

constexpr std::string_view kTypeNames[] = {
    "undefined", "float",      "uint8",      "int8",         "uint16",         "int16",      "int32",
    "int64",     "string",     "bool",       "float16",      "double",         "uint32",     "uint64",
    "complex64", "complex128", "bfloat16",   "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz",
    "uint4",     "int4",       "float4e2m1", "float8e8m0",   "uint2",          "int2"};
constexpr std::array<std::pair<int, DType>, kDTypeCount> kTypes = {{
    {1, DType::f32},     {2, DType::u8},          {3, DType::i8},      {4, DType::u16},       {5, DType::i16},
    {6, DType::i32},     {7, DType::i64},         {9, DType::boolean}, {10, DType::f16},      {11, DType::f64},
    {12, DType::u32},    {13, DType::u64},        {16, DType::bf16},   {17, DType::f8e4m3fn}, {18, DType::f8e4m3fnuz},
    {19, DType::f8e5m2}, {20, DType::f8e5m2fnuz}, {21, DType::u4},     {22, DType::i4},       {23, DType::f4e2m1},
    {24, DType::f8e8m0}, {25, DType::u2},         {26, DType::i2},
}};

constexpr int kDefault = 0, kExternal = 1;  // TensorProto.DataLocation

template <class Values>
std::vector<std::byte> from_typed(DType dtype, const Values& values) {
  const std::size_t size = dtype_size(dtype);
  std::vector<std::byte> bytes(static_cast<std::size_t>(values.size()) * size);
  for (int i = 0; i < values.size(); ++i) {
    std::byte* at = bytes.data() + static_cast<std::size_t>(i) * size;
    if constexpr (std::is_floating_point_v<std::decay_t<decltype(values[i])>>) {
      store_double(dtype, at, static_cast<double>(values[i]));
    } else if (dtype == DType::f16 || dtype == DType::bf16) {  // 16-bit floats travel as their bits
      const auto bits = static_cast<std::uint16_t>(values[i]);
      std::memcpy(at, &bits, sizeof(bits));
    } else {
      store_int(dtype, at, static_cast<std::int64_t>(values[i]));
    }
  }
  return bytes;
}

// Narrow dtypes travel as their bytes, packed ones too, each in an int32.
std::vector<std::byte> from_bytes(const pb::Tensor& tensor) {
  std::vector<std::byte> bytes;
  for (const std::int32_t value : tensor.int32_data()) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

std::vector<std::byte> typed_data(const pb::Tensor& tensor, DType dtype) {
  if (is_narrow(dtype)) return from_bytes(tensor);
  if (dtype == DType::f32) return from_typed(dtype, tensor.float_data());
  if (dtype == DType::f64) return from_typed(dtype, tensor.double_data());
  if (dtype == DType::i64) return from_typed(dtype, tensor.int64_data());
  if (dtype == DType::u32 || dtype == DType::u64) return from_typed(dtype, tensor.uint64_data());
  return from_typed(dtype, tensor.int32_data());
}

}  // namespace

DType dtype_of(int onnx_type, const std::string& where) {
  for (const auto& [number, dtype] : kTypes) {
    if (number == onnx_type) return dtype;
  }
  const bool named = onnx_type >= 0 && static_cast<std::size_t>(onnx_type) < std::size(kTypeNames);
  throw Error(Code::unsupported,
              "ONNX element type " + (named ? std::string(kTypeNames[onnx_type]) : std::to_string(onnx_type)) +
                  " is not supported",
              where);
}

int onnx_type_of(DType dtype) {
  for (const auto& [number, ours] : kTypes) {
    if (ours == dtype) return number;
  }
  throw Error(Code::unsupported, "ONNX has no element type for " + std::string(dtype_name(dtype)));
}

ConstantPtr read_tensor(const pb::Tensor& tensor, Files& files, const std::string& where) {
  const std::string context = where + "tensor '" + tensor.name() + "'";
  const DType dtype = dtype_of(tensor.data_type(), context);
  const bool outside = tensor.data_location() == kExternal;
  if (tensor.data_location() != kDefault && !outside)
    throw Error(Code::corrupt, "a data_location of " + std::to_string(tensor.data_location()), context);
  Ints dims(tensor.dims().begin(), tensor.dims().end());
  for (const std::int64_t extent : dims) {
    if (extent < 0) throw Error(Code::corrupt, "a dimension of " + std::to_string(extent), context);
  }
  const Shape shape(dims);
  const auto elements = static_cast<std::uint64_t>(shape.elements());
  const bool packed = dtype_info(dtype).bits < 8;
  std::uint64_t wanted = packed ? narrow::packed_size(dtype, elements) : 0;
  if (!packed && __builtin_mul_overflow(elements, dtype_size(dtype), &wanted)) {
    throw Error(Code::corrupt, "dims " + shape.str() + " are larger than any memory", context);
  }
  const auto check = [&](std::uint64_t got) {
    if (got != wanted) {
      throw Error(Code::corrupt,
                  std::string(dtype_name(dtype)) + shape.str() + " needs " + std::to_string(wanted) +
                      " bytes, the file has " + std::to_string(got),
                  context);
    }
  };
  const auto copy_of = [&](std::span<const std::byte> stored) {
    check(stored.size());
    if (!packed) return make_constant(dtype, shape, stored);
    return make_constant(dtype, shape, narrow::unpack(dtype, stored, elements));
  };
  if (outside || tensor.has_lifted_length()) {
    const Place place = outside ? files.outside(tensor, wanted, context) : files.lifted(tensor);
    check(place.length);
    if (packed) return copy_of(place.file->bytes().subspan(place.offset, place.length));
    return std::make_shared<const ConstantData>(ConstantData{dtype, shape, place.file, place.offset});
  }
  if (tensor.has_raw_data()) return copy_of(std::as_bytes(std::span(tensor.raw_data())));
  return copy_of(typed_data(tensor, dtype));
}

std::span<const std::byte> stored_bytes(DType dtype, std::span<const std::byte> elements,
                                        std::vector<std::byte>& packed) {
  if (dtype_info(dtype).bits >= 8) return elements;
  packed = narrow::pack(dtype, elements);
  return packed;
}

}  // namespace ml::onnx
