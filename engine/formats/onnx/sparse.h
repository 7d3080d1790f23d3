// SparseTensorProto, made dense: graphs have dense tensors only.
#pragma once

#include <string>

#include "engine/formats/onnx/tensor.h"

namespace ml::onnx {

namespace pb {
class SparseTensor;
}

// `room` is how many bytes sparse tensors may still take beyond kSpread times what is stored of them.
inline constexpr std::uint64_t kSpread = 16;
inline constexpr std::uint64_t kSparseRoom = std::uint64_t{64} << 20;

// Zeros, and the values where the indices say: of the elements in row-major order [n], or of the dimensions [n, rank].
// Throws corrupt for indices that are outside or don't ascend, unsupported where there is no room, and what
// read_tensor() throws.
ConstantPtr read_sparse(const pb::SparseTensor& sparse, Files& files, std::uint64_t& room, const std::string& where);

}  // namespace ml::onnx
