#include "engine/backends/cpu/convolution_pack.h"

#include <algorithm>
#include <string>

#include "engine/backends/cpu/cpu_device.h"

namespace ml::cpu {

std::shared_ptr<const Buffer> pack_panels(const ConstantData& weights, const WeightShape& shape,
                                          const PanelKernel& kernel, PackCache& packs) {
  const auto& [groups, results, depth, taps] = shape;
  const std::string format = "convolution panels width=" + std::to_string(kernel.width) +
                             " groups=" + std::to_string(groups) + " taps=" + std::to_string(taps);
  return packs.get(weights, format, [&] {
    auto buffer = std::make_shared<CpuBuffer>(
        static_cast<std::size_t>(groups * kernel.panels(results) * taps * depth * kernel.width) * sizeof(float));
    const auto bytes = weights.bytes();
    CpuBuffer aligned(bytes.size());  // constants lie at any alignment
    std::copy(bytes.begin(), bytes.end(), aligned.data());
    const auto* const given = reinterpret_cast<const float*>(aligned.data());
    auto* to = reinterpret_cast<float*>(buffer->data());
    for (std::int64_t group = 0; group < groups; ++group) {
      for (std::int64_t column = 0; column < results; column += kernel.width) {
        const float* const from = given + (group * results + column) * depth * taps;
        for (std::int64_t tap = 0; tap < taps; ++tap, to += depth * kernel.width)
          kernel.pack(from + tap, taps, depth * taps, depth, std::min(kernel.width, results - column), to);
      }
    }
    return buffer;
  });
}

std::shared_ptr<const Buffer> pack_windows(const ConstantData& weights, std::int64_t channels, std::int64_t taps,
                                           PackCache& packs) {
  return packs.get(weights, "depthwise taps=" + std::to_string(taps), [&] {
    auto buffer = std::make_shared<CpuBuffer>(weights.length());
    const std::byte* const given = weights.bytes().data();
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        std::copy_n(given + static_cast<std::size_t>(channel * taps + tap) * sizeof(float), sizeof(float),
                    buffer->data() + static_cast<std::size_t>(tap * channels + channel) * sizeof(float));
      }
    }
    return buffer;
  });
}

}  // namespace ml::cpu
