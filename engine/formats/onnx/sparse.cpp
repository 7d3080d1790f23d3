#include "engine/formats/onnx/sparse.h"

#include <cstring>
#include <vector>

#include "engine/formats/onnx/onnx.pb.h"
#include "ml/error.h"

namespace ml::onnx {
namespace {

Shape shape_of(const pb::SparseTensor& sparse, const std::string& where) {
  Shape shape;
  for (const std::int64_t extent : sparse.dims()) {
    if (extent < 0) throw Error(Code::corrupt, "a dimension of " + std::to_string(extent), where);
    shape.append(extent);
  }
  return shape;
}

// Where value `i` stands in row-major order.
std::int64_t place_of(const ConstantData& indices, std::int64_t i, const Shape& shape, const std::string& where) {
  const auto checked = [&](std::int64_t index, std::int64_t extent) {
    if (index >= 0 && index < extent) return index;
    throw Error(Code::corrupt,
                "index " + std::to_string(index) + " of value " + std::to_string(i) + " is outside of " + shape.str(),
                where);
  };
  if (indices.shape.rank() == 1) return checked(element_as_int(indices, i), shape.elements());
  std::int64_t place = 0;
  for (int axis = 0; axis < shape.rank(); ++axis)
    place = place * shape[axis] + checked(element_as_int(indices, i * shape.rank() + axis), shape[axis]);
  return place;
}

void reserve(std::uint64_t bytes, std::uint64_t stored, std::uint64_t& room, const std::string& where) {
  const std::uint64_t beyond = bytes / kSpread > stored ? bytes - stored * kSpread : 0;
  if (beyond > room) {
    throw Error(Code::unsupported,
                "it would be " + std::to_string(bytes) + " bytes and is stored in " + std::to_string(stored) +
                    "; sparse tensors may take " + std::to_string(kSparseRoom >> 20) + " MiB beyond " +
                    std::to_string(kSpread) + " times what is stored of them",
                where, "store it as a dense tensor");
  }
  room -= beyond;
}

}  // namespace

ConstantPtr read_sparse(const pb::SparseTensor& sparse, Files& files, std::uint64_t& room, const std::string& where) {
  const std::string context = where + "sparse tensor '" + sparse.values().name() + "'";
  const ConstantPtr values = read_tensor(sparse.values(), files, context + ": values: ");
  const ConstantPtr indices = read_tensor(sparse.indices(), files, context + ": indices: ");
  const Shape shape = shape_of(sparse, context);
  const std::int64_t count = values->shape.elements();
  if (values->shape.rank() != 1 || indices->dtype != DType::i64 ||
      (indices->shape != Shape{count} && indices->shape != Shape{count, shape.rank()})) {
    throw Error(Code::corrupt,
                "values " + values->shape.str() + " with indices " + std::string(dtype_name(indices->dtype)) +
                    indices->shape.str() + " of a tensor " + shape.str(),
                context, "values [n] and indices i64[n] or i64[n, rank] are needed");
  }
  if (values->dtype == DType::f8e8m0) throw Error(Code::unsupported, "f8e8m0 has no zero", context);
  const std::size_t size = dtype_size(values->dtype);
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(shape.elements()), size, &bytes))
    throw Error(Code::corrupt, "dims " + shape.str() + " are larger than any memory", context);
  reserve(bytes, values->length() + indices->length(), room, context);

  std::vector<std::byte> dense(bytes);
  std::int64_t last = -1;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t place = place_of(*indices, i, shape, context);
    if (place <= last) {
      throw Error(Code::corrupt,
                  "value " + std::to_string(i) + " is for element " + std::to_string(place) + ", the one before for " +
                      std::to_string(last),
                  context, "indices have to ascend and be different");
    }
    last = place;
    std::memcpy(dense.data() + static_cast<std::size_t>(place) * size,
                values->bytes().data() + static_cast<std::size_t>(i) * size, size);
  }
  return std::make_shared<const ConstantData>(ConstantData{values->dtype, shape, Blob::owning(std::move(dense)), 0});
}

}  // namespace ml::onnx
