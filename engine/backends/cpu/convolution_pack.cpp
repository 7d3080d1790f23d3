#include "engine/backends/cpu/convolution_pack.h"

#include <algorithm>
#include <string>

#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/packed_buffer.h"
#include "engine/backends/cpu/panel_pack.h"

namespace ml::cpu {

std::shared_ptr<const Buffer> pack_weights(const ConstantData& weights, const WeightShape& shape,
                                           const PanelKernel& kernel, PackCache& packs) {
  const std::int64_t groups = shape.groups, results = shape.results, depth = shape.depth, taps = shape.taps;
  const std::string format = "convolution panels width=" + std::to_string(kernel.width) +
                             " groups=" + std::to_string(groups) + " taps=" + std::to_string(taps);
  return packs.get(weights, format, [&] {
    auto buffer = PackedBuffer::make(
        packs, static_cast<std::size_t>(groups * kernel.panels(results) * taps * depth * kernel.width) * sizeof(float));
    auto* const to = reinterpret_cast<float*>(buffer->data());
    const std::int64_t length = kernel.panels(results) * taps * depth * kernel.width;  // of a group
    for (std::int64_t group = 0; group < groups; ++group) {
      const PanelSource source{group * results * depth * taps, taps, 1, depth, results, {taps, depth * taps}};
      pack_panels(weights, source, kernel.width, to + group * length, packs.pool());
    }
    buffer->complete();
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
