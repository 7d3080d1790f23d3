#include "engine/backends/cpu/interleave.h"

#include <cstddef>

#include "engine/backends/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/interleave.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
constexpr auto kLanes = static_cast<std::int64_t>(HWY_LANES(float));

template <std::int64_t channels>
void run(const float* from, std::int64_t plane, std::int64_t length, float* to) {
  const D d;
  std::int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    const auto channel = [&](std::int64_t c) { return hn::LoadU(d, from + c * plane + i); };
    float* const at = to + i * channels;
    if constexpr (channels == 1) hn::StoreU(channel(0), d, at);
    if constexpr (channels == 2) hn::StoreInterleaved2(channel(0), channel(1), d, at);
    if constexpr (channels == 3) hn::StoreInterleaved3(channel(0), channel(1), channel(2), d, at);
    if constexpr (channels == 4) hn::StoreInterleaved4(channel(0), channel(1), channel(2), channel(3), d, at);
  }
  for (; i < length; ++i) {
    for (std::int64_t c = 0; c < channels; ++c) to[i * channels + c] = from[c * plane + i];
  }
}

}  // namespace

void interleave_planes(const float* from, std::int64_t plane, std::int64_t channels, std::int64_t length, float* to) {
  switch (channels) {
    case 1: return run<1>(from, plane, length, to);
    case 2: return run<2>(from, plane, length, to);
    case 3: return run<3>(from, plane, length, to);
    default: return run<kPictureChannels>(from, plane, length, to);
  }
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {
namespace {

HWY_EXPORT(interleave_planes);

}  // namespace

void interleave(const float* from, std::int64_t plane, std::int64_t channels, std::int64_t length, float* to) {
  HWY_DYNAMIC_DISPATCH(interleave_planes)(from, plane, channels, length, to);
}

}  // namespace ml::cpu
#endif  // HWY_ONCE
