// Constant weights of convolutions in the forms that kernels read, packed once per program.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/backends/backend.h"
#include "engine/backends/cpu/panel.h"

namespace ml::cpu {

// What a convolution's weights are: [groups * results, depth, taps].
struct WeightShape {
  std::int64_t groups, results, depth, taps;  // results and depth of a group
};
// [group][panel][tap][depth][width]
std::shared_ptr<const Buffer> pack_weights(const ConstantData& weights, const WeightShape& shape,
                                           const PanelKernel& kernel, PackCache& packs);
// Of windows of one channel each: [tap][channel].
std::shared_ptr<const Buffer> pack_windows(const ConstantData& weights, std::int64_t channels, std::int64_t taps,
                                           PackCache& packs);

}  // namespace ml::cpu
