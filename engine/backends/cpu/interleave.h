// Pictures whose channels lie one behind the other, as they come, made channels-last.
#pragma once

#include <cstdint>

namespace ml::cpu {

inline constexpr std::int64_t kPictureChannels = 4;  // at most

// `length` places of planes that begin `plane` floats apart: to[place][channel].
void interleave(const float* from, std::int64_t plane, std::int64_t channels, std::int64_t length, float* to);

}  // namespace ml::cpu
