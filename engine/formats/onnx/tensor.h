// TensorProto and constants.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/formats/onnx/files.h"
#include "engine/graph/constant.h"

namespace ml::onnx {

// ONNX's number of an element type as ours; throws unsupported by its name (float8, strings, ...).
DType dtype_of(int onnx_type, const std::string& where);
int onnx_type_of(DType dtype);

// The tensor's value. Lifted raw data and data outside of the model refer into their file, everything else is copied.
// Throws corrupt where the data does not fill the dims, and what Files::outside throws.
ConstantPtr read_tensor(const pb::Tensor& tensor, Files& files, const std::string& where);

// Dense elements as a TensorProto has them in raw_data: `elements`, or `packed`, filled with them, below a byte each.
std::span<const std::byte> stored_bytes(DType dtype, std::span<const std::byte> elements,
                                        std::vector<std::byte>& packed);

}  // namespace ml::onnx
