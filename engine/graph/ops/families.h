// The families of ops. A new family is one line in each of the two lists; a new op is a row in its family alone.
#pragma once

#include <span>

#include "engine/graph/op.h"

namespace ml {

using Family = std::span<const Op> (*)();

std::span<const Op> constant_ops();
std::span<const Op> elementwise_ops();
std::span<const Op> activation_ops();
std::span<const Op> dynamic_ops();
std::span<const Op> convolution_ops();
std::span<const Op> pooling_ops();
std::span<const Op> matmul_ops();
std::span<const Op> fourier_ops();
std::span<const Op> reduce_ops();
std::span<const Op> movement_ops();
std::span<const Op> indexing_ops();
std::span<const Op> softmax_ops();
std::span<const Op> attention_ops();
std::span<const Op> recurrent_ops();
std::span<const Op> norm_ops();
std::span<const Op> random_ops();
std::span<const Op> optimizer_ops();
std::span<const Op> detection_ops();
std::span<const Op> quantize_ops();
std::span<const Op> control_ops();
std::span<const Op> fused_contraction_ops();

// One line a family, so that additions merge.
// clang-format off
inline constexpr Family kFamilies[] = {
    constant_ops,
    elementwise_ops,
    activation_ops,
    dynamic_ops,
    convolution_ops,
    pooling_ops,
    matmul_ops,
    fourier_ops,
    reduce_ops,
    movement_ops,
    indexing_ops,
    softmax_ops,
    attention_ops,
    recurrent_ops,
    norm_ops,
    random_ops,
    optimizer_ops,
    detection_ops,
    quantize_ops,
    control_ops,
    fused_contraction_ops,
};
// clang-format on

}  // namespace ml
