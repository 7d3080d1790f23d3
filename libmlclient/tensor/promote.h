// How dtypes meet: the rule that ml/ops.h documents.
#pragma once

#include <string_view>

#include "ml/tensor.h"

namespace ml::client {

// The narrowest dtype that holds both; throws invalid_argument, naming `op`, for u64 with a signed integer.
DType promote(DType a, DType b, std::string_view op);
// The dtype of a tensor of `dtype` with a plain number.
DType promote(DType dtype, Scalar scalar);
// f32 for bools and integers, the dtype itself otherwise.
DType to_floating(DType dtype);

}  // namespace ml::client
