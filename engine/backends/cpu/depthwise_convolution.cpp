// Convolutions of f32 in which every channel has a window of its own (as many groups as channels and results),
// channels-last, in one or two dimensions.
//
// There are few operations per element, so what counts is how often each is loaded. Usual windows have a kernel of
// their own (depthwise_lines.h). For others four results next to each other use one load of the weights, for two
// vectors of channels at a time.
#include <algorithm>
#include <cstddef>

#include "engine/backends/cpu/channels_last.h"
#include "engine/backends/cpu/convolution_geometry.h"
#include "engine/backends/cpu/convolution_pack.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/depthwise_lines.h"
#include "engine/backends/cpu/epilogue.h"
#include "engine/backends/cpu/panel.h"
#include "engine/backends/cpu/partition.h"
#include "engine/backends/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/depthwise_convolution.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "engine/backends/cpu/epilogue-inl.h"

#ifndef ML_CPU_DEPTHWISE_RUN
#define ML_CPU_DEPTHWISE_RUN
namespace ml::cpu {

// Results next to each other whose windows have the same taps inside of the image.
struct DepthwiseRun {
  const float* x;               // of the first result's window: its first place, which may lie outside
  const std::ptrdiff_t* taps;   // from there, in floats
  const float* const* weights;  // per tap, one float a channel
  std::size_t tap_count;
  std::ptrdiff_t step;  // from one result's window to the next, in floats
  float* y;
  std::size_t results;
  std::size_t channels;
  const Epilogue* epilogue;  // without residual
};

}  // namespace ml::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr std::size_t kLanes = HWY_LANES(float);

template <int R, int C>
HWY_INLINE void vectors(const DepthwiseRun& run, std::size_t result, std::size_t channel) {
  const D d;
  const float* const x = run.x + static_cast<std::ptrdiff_t>(result) * run.step + channel;
  V sum[R][C];
#pragma GCC unroll 2
  for (int c = 0; c < C; ++c) {
    const float* const bias = run.epilogue->bias;
    sum[0][c] = bias == nullptr ? hn::Zero(d) : hn::LoadU(d, bias + channel + static_cast<std::size_t>(c) * kLanes);
#pragma GCC unroll 4
    for (int r = 1; r < R; ++r) sum[r][c] = sum[0][c];
  }
  for (std::size_t tap = 0; tap < run.tap_count; ++tap) {
    const float* const from = x + run.taps[tap];
    const float* const weights = run.weights[tap] + channel;
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
      const std::size_t at = static_cast<std::size_t>(c) * kLanes;
      const V weight = hn::LoadU(d, weights + at);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sum[r][c] = hn::MulAdd(hn::LoadU(d, from + r * run.step + at), weight, sum[r][c]);
    }
  }
  for (int r = 0; r < R; ++r) {
    float* const to = run.y + (result + static_cast<std::size_t>(r)) * run.channels + channel;
    for (int c = 0; c < C; ++c)
      hn::StoreU(finished<Function::none>(*run.epilogue, sum[r][c], nullptr, kLanes), d,
                 to + static_cast<std::size_t>(c) * kLanes);
  }
}

template <int C>
HWY_INLINE void line(const DepthwiseRun& run, std::size_t channel) {
  std::size_t result = 0;
  for (; result + 4 <= run.results; result += 4) vectors<4, C>(run, result, channel);
  for (; result < run.results; ++result) vectors<1, C>(run, result, channel);
}

}  // namespace

void run_depthwise(const DepthwiseRun& run) {
  std::size_t channel = 0;
  for (; channel + 2 * kLanes <= run.channels; channel += 2 * kLanes) line<2>(run, channel);
  for (; channel + kLanes <= run.channels; channel += kLanes) line<1>(run, channel);
  for (; channel < run.channels; ++channel) {
    for (std::size_t result = 0; result < run.results; ++result) {
      float sum = run.epilogue->bias == nullptr ? 0 : run.epilogue->bias[channel];
      const float* const x = run.x + static_cast<std::ptrdiff_t>(result) * run.step + channel;
      for (std::size_t tap = 0; tap < run.tap_count; ++tap) sum += x[run.taps[tap]] * run.weights[tap][channel];
      if (run.epilogue->clamps && sum < run.epilogue->low) sum = run.epilogue->low;
      if (run.epilogue->clamps && sum > run.epilogue->high) sum = run.epilogue->high;
      run.y[result * run.channels + channel] = sum;
    }
  }
  // The line is still in the first-level cache.
  if (run.epilogue->function == Function::none) return;
  const std::size_t n = run.results * run.channels;
  with_function(run.epilogue->function, [&](auto function) {
    for (std::size_t i = 0; i < n; i += kLanes)
      RowEnd::write(applied<function()>(RowEnd::read(run.y + i, n - i)), run.y + i, n - i);
  });
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {
namespace {

HWY_EXPORT(run_depthwise);

constexpr double kBytesPerPart = 64e3;
constexpr std::int64_t kMostTaps = 64;
// Lines of results whose image stays in the second-level cache while the channels are gone through.
constexpr std::int64_t kMostLines = 16;
constexpr std::int64_t kBlockBytes = 512 * 1024;
// Of an image that is there when a vector of its channels is walked through: farther away whole lines are faster.
constexpr std::int64_t kImageBytes = 2048 * 1024;

class DepthwiseConvolution final : public Kernel {
 public:
  DepthwiseConvolution(const ContractionRequest& whole, PackCache& packs)
      : run_(HWY_DYNAMIC_DISPATCH(run_depthwise)), epilogue_(whole) {
    const ConvolutionRequest request(whole.contraction());
    const Lines lines =
        lines_of(request.x->type.shape, request.w->type.shape, 2, request.y->type.shape, request.windows);
    down_ = lines.line[1];
    across_ = lines.line[2];
    channels_ = request.x->type.shape[1];
    lines_ = request.x->type.shape[0] * down_.count;
    const double bytes = 4.0 * static_cast<double>(lines_ * across_.count * channels_);
    parts_ = part_count(bytes, kBytesPerPart, lines_);
    packed_ = pack_windows(*request.w->constant, channels_, down_.window * across_.window, packs);
    const std::int64_t line_bytes = across_.extent * channels_ * static_cast<std::int64_t>(sizeof(float));
    const auto same = [this](auto member) { return down_.*member == across_.*member; };
    if (same(&Line::window) && same(&Line::stride) && down_.dilation == 1 && across_.dilation == 1 &&
        line_bytes * down_.extent <= kImageBytes)
      run_lines_ = depthwise_lines(down_.window, down_.stride);
    if (run_lines_ != nullptr) zeros_.assign(static_cast<std::size_t>(across_.extent * channels_), 0.0f);
    block_ = std::clamp<std::int64_t>(kBlockBytes / (line_bytes * down_.stride), 1, kMostLines);
  }

  ConstantUse constant_use(std::size_t input) const override {
    return input == 1 ? ConstantUse::packed : ConstantUse::aligned;
  }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan) const override {
    const auto* const x = data_of<float>(inputs[0]);
    auto* const y = data_of<float>(outputs[0]);
    const KeptEpilogue::Launch epilogue = epilogue_.launch(inputs, outputs);
    cpu_stream(stream).pool().parallel_for(parts_, [&](std::int64_t part) {
      const Range lines = range_of(lines_, parts_, part);
      if (run_lines_ != nullptr) return run_lines(x, y, lines, epilogue);
      for (std::int64_t line = lines.begin; line < lines.end; ++line) run_line(x, y, line, epilogue);
    });
  }

 private:
  void run_lines(const float* x, float* y, Range lines, const KeptEpilogue::Launch& epilogue) const {
    const float* rows[kMostLines * kMostDepthwiseWindow];
    for (std::int64_t from = lines.begin; from < lines.end; from += block_) {
      const std::int64_t count = std::min(block_, lines.end - from);
      const float** row = rows;
      for (std::int64_t line = from; line < from + count; ++line) {
        for (std::int64_t a = 0; a < down_.window; ++a) {
          const std::int64_t at = down_.place(line % down_.count, a);
          const bool inside = at >= 0 && at < down_.extent;
          *row++ = inside ? x + (line / down_.count * down_.extent + at) * across_.extent * channels_ : zeros_.data();
        }
      }
      float* const out = y + from * across_.count * channels_;
      const RowsEpilogue end(epilogue, &out, 1, 0);
      run_lines_({rows, count, across_.extent, across_.count, across_.pad, channels_, channels_, channels_,
                  reinterpret_cast<const float*>(static_cast<const CpuBuffer&>(*packed_).data()), out, &end.get()});
    }
  }

  void run_line(const float* x, float* y, std::int64_t index, const KeptEpilogue::Launch& epilogue) const {
    const std::int64_t image = index / down_.count, line = index % down_.count;
    y += index * across_.count * channels_;
    // Results whose whole window lies inside, and before and behind them each with the taps that it has.
    const std::int64_t length = (across_.window - 1) * across_.dilation + 1;
    const std::int64_t room = across_.extent - length + across_.pad;
    const std::int64_t first = std::min((across_.pad + across_.stride - 1) / across_.stride, across_.count);
    const std::int64_t last = std::clamp(room < 0 ? 0 : room / across_.stride + 1, first, across_.count);
    for (std::int64_t column = 0; column < first; ++column)
      run_results(x, y, image, line, {column, column + 1}, epilogue);
    if (first < last) run_results(x, y, image, line, {first, last}, epilogue);
    for (std::int64_t column = last; column < across_.count; ++column)
      run_results(x, y, image, line, {column, column + 1}, epilogue);
  }

  void run_results(const float* x, float* y, std::int64_t image, std::int64_t line, Range columns,
                   const KeptEpilogue::Launch& epilogue) const {
    const auto* const packed = reinterpret_cast<const float*>(static_cast<const CpuBuffer&>(*packed_).data());
    std::ptrdiff_t taps[kMostTaps];
    const float* weights[kMostTaps];
    std::size_t count = 0;
    // The first place that there is: nothing is addressed from outside of the image.
    const std::int64_t top = down_.first(line), left = across_.first(columns.begin);
    const std::int64_t y0 = down_.place(line, top), x0 = across_.place(columns.begin, left);
    for (std::int64_t a = top; a < down_.last(line); ++a) {
      for (std::int64_t b = left; b < across_.last(columns.begin); ++b, ++count) {
        taps[count] = ((a - top) * down_.dilation * across_.extent + (b - left) * across_.dilation) * channels_;
        weights[count] = packed + (a * across_.window + b) * channels_;
      }
    }
    const bool any = count != 0;
    float* const out = y + columns.begin * channels_;
    const RowsEpilogue end(epilogue, &out, 1, 0);
    run_({any ? x + ((image * down_.extent + y0) * across_.extent + x0) * channels_ : x, taps, weights, count,
          across_.stride * channels_, out, static_cast<std::size_t>(columns.size()),
          static_cast<std::size_t>(channels_), &end.get()});
  }

  void (*run_)(const DepthwiseRun&);
  DepthwiseLines run_lines_ = nullptr;
  std::vector<float> zeros_;  // a line of the image outside of it
  std::int64_t block_ = 1;    // lines of results
  Line down_, across_;
  std::int64_t channels_ = 0, lines_ = 0, parts_ = 1;
  KeptEpilogue epilogue_;
  std::shared_ptr<const Buffer> packed_;
};

const char* refuse(const KernelRequest& node) {
  if (node.outputs[0].type.dtype != DType::f32) return refusal::kDType;
  const ContractionRequest whole(node);
  if (const char* const why = whole.refuse("convolution"); why != nullptr && why != refusal::kLayout) return why;
  const ConvolutionRequest request(whole.contraction());
  if (whole.residual != ContractionRequest::kNone) return refusal::kAttribute;
  if (request.empty()) return refusal::kSize;
  if (request.w->constant == nullptr) return refusal::kOperand;
  if (request.spatial() > 2) return refusal::kRank;
  const std::int64_t channels = request.x->type.shape[1];
  if (request.groups != channels || request.y->type.shape[1] != channels) return refusal::kAttribute;
  const Shape& weight = request.w->type.shape;
  if (weight.elements() / weight[0] > kMostTaps) return refusal::kSize;
  const bool last = lies_channels_last(*request.x) && lies_channels_last(*request.y);
  return last ? whole.refuse("convolution") : refusal::kLayout;
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache& packs) {
  return std::make_unique<DepthwiseConvolution>(ContractionRequest(request), packs);
}

constexpr Implementation row(const char* op) {
  return {
      .op = op, .kernel = "depthwise_convolution", .refuse = refuse, .compile = compile, .prefer = prefer_contraction};
}

constexpr Implementation kTable[] = {row("convolution"), row("fused_contraction")};

}  // namespace

std::span<const Implementation> depthwise_convolution_implementations() { return kTable; }

}  // namespace ml::cpu
#endif  // HWY_ONCE
