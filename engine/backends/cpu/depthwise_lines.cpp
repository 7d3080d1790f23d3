#include "engine/backends/cpu/depthwise_lines.h"

#include <algorithm>
#include <cstddef>

#include "engine/backends/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/depthwise_lines.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "engine/backends/cpu/epilogue-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr std::size_t kLanes = HWY_LANES(float);
constexpr int kResults = 4;  // beside each other

// One vector of channels of one line; `whole`: all its lanes are channels, otherwise `n` of them.
template <int K, int S, bool whole>
struct Channels {
  const DepthwiseBlock& block;
  const V (&weights)[K * K];
  V bias;
  std::size_t n;
  const float* row[K];
  float* y;

  HWY_INLINE V read(const float* from) const {
    const D d;
    if constexpr (whole) return hn::LoadU(d, from);
    return RowEnd::read(from, n);
  }
  HWY_INLINE void write(V value, float* to) const {
    value = finished<Function::none>(*block.epilogue, value, nullptr, n);
    const D d;
    if constexpr (whole)
      hn::StoreU(value, d, to);
    else
      RowEnd::write(value, to, n);
  }

  // R results whose windows lie inside.
  template <int R>
  HWY_INLINE void inside(std::int64_t result) const {
    V sum[R];
    ML_UNROLL
    for (int r = 0; r < R; ++r) sum[r] = bias;
    std::int64_t place = (result * S - block.pad) * block.image_step;
    ML_UNROLL
    for (int q = 0; q < (R - 1) * S + K; ++q, place += block.image_step) {
      ML_UNROLL
      for (int a = 0; a < K; ++a) {
        const V x = read(row[a] + place);
        ML_UNROLL
        for (int r = 0; r < R; ++r) {
          const int b = q - r * S;
          if (b >= 0 && b < K) sum[r] = hn::MulAdd(x, weights[a * K + b], sum[r]);
        }
      }
    }
    ML_UNROLL
    for (int r = 0; r < R; ++r) write(sum[r], y + (result + r) * block.step);
  }

  // One result, from the columns of its window that there are.
  HWY_INLINE void outside(std::int64_t result) const {
    V sum = bias;
    const std::int64_t first = result * S - block.pad;
    ML_UNROLL
    for (int b = 0; b < K; ++b) {
      if (first + b < 0 || first + b >= block.extent) continue;
      ML_UNROLL
      for (int a = 0; a < K; ++a)
        sum = hn::MulAdd(read(row[a] + (first + b) * block.image_step), weights[a * K + b], sum);
    }
    write(sum, y + result * block.step);
  }

  HWY_INLINE void line() const {
    const std::int64_t first = std::min((block.pad + S - 1) / S, block.count);
    const std::int64_t room = block.extent + block.pad - K;
    const std::int64_t last = std::clamp(room < 0 ? 0 : room / S + 1, first, block.count);
    std::int64_t result = 0;
    for (; result < first; ++result) outside(result);
    for (; result + kResults <= last; result += kResults) inside<kResults>(result);
    for (; result < last; ++result) inside<1>(result);
    for (; result < block.count; ++result) outside(result);
    with_function(block.epilogue->function, [this](auto function) {
      if constexpr (function() != Function::none) {
        float* at = y;
        for (std::int64_t i = 0; i < block.count; ++i, at += block.step)
          RowEnd::write(applied<function()>(RowEnd::read(at, n)), at, n);
      }
    });
  }
};

template <int K, int S, bool whole>
HWY_NOINLINE void run_channels(const DepthwiseBlock& block, std::int64_t channel) {
  const auto n = static_cast<std::size_t>(block.channels - channel);
  const D d;
  V weights[K * K];
  ML_UNROLL
  for (int tap = 0; tap < K * K; ++tap) weights[tap] = RowEnd::read(block.weights + tap * block.step + channel, n);
  const float* const bias = block.epilogue->bias;
  Channels<K, S, whole> channels{block, weights, bias == nullptr ? hn::Zero(d) : RowEnd::read(bias + channel, n),
                                 n,     {},      nullptr};
  for (std::int64_t line = 0; line < block.lines; ++line) {
    for (int a = 0; a < K; ++a) channels.row[a] = block.rows[line * K + a] + channel;
    channels.y = block.y + line * block.count * block.step + channel;
    channels.line();
  }
}

template <int K, int S>
void run_lines(const DepthwiseBlock& block) {
  const auto lanes = static_cast<std::int64_t>(kLanes);
  std::int64_t channel = 0;
  for (; channel + lanes <= block.channels; channel += lanes) run_channels<K, S, true>(block, channel);
  if (channel < block.channels) run_channels<K, S, false>(block, channel);
}

}  // namespace

DepthwiseLines find_lines(std::int64_t window, std::int64_t stride) {
  if (window == 3) return stride == 1 ? run_lines<3, 1> : stride == 2 ? run_lines<3, 2> : nullptr;
  if (window == 5) return stride == 1 ? run_lines<5, 1> : stride == 2 ? run_lines<5, 2> : nullptr;
  return nullptr;
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {
namespace {

HWY_EXPORT(find_lines);

}  // namespace

DepthwiseLines depthwise_lines(std::int64_t window, std::int64_t stride) {
  return HWY_DYNAMIC_DISPATCH(find_lines)(window, stride);
}

}  // namespace ml::cpu
#endif  // HWY_ONCE
