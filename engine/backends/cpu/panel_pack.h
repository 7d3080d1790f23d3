// Constant matrices on their way into panels.
#pragma once

#include <cstdint>

#include "engine/backends/cpu/matmul_shape.h"
#include "engine/graph/constant.h"

namespace ml::cpu {

// Packs the [depth, columns] matrix of f32 that is in `constant`, whose bytes may lie at any alignment, into panels of
// `width` columns, `depth` rows each: zeroed memory for as many whole panels. It goes through the bytes once, in order,
// and sets them aside behind it, so that a large one is never in memory twice.
void pack_matrix(const ConstantData& constant, const MatrixStrides& strides, std::int64_t depth, std::int64_t columns,
                 std::int64_t width, float* to);

}  // namespace ml::cpu
