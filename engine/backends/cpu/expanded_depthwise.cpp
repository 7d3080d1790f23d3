// A 1x1 convolution and the windows of single channels that read its result (the first two of an inverted residual,
// Sandler et al., arXiv 1801.04381) as one kernel: f32 with constant weights, channels-last.
//
// The image between the two is several times as large as both ends, so it is never whole. A part goes through lines of
// results for a few channels at a time: the lines of the expanded image under a few of them are made in a ring that
// the first-level cache holds, and the windows read them there.
#include <algorithm>

#include "engine/backends/cpu/channels_last.h"
#include "engine/backends/cpu/convolution_geometry.h"
#include "engine/backends/cpu/convolution_pack.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/depthwise_lines.h"
#include "engine/backends/cpu/epilogue.h"
#include "engine/backends/cpu/panel.h"
#include "engine/backends/cpu/partition.h"

namespace ml::cpu {
namespace {

constexpr std::int64_t kFloatBytes = sizeof(float);
// Of an expanded image that would leave the second-level cache before its windows come.
constexpr std::int64_t kFarBytes = 512 * 1024;
constexpr std::int64_t kRingBytes = 32 * 1024;
// At once, so that a line of them is near: half a panel where those are wide, otherwise some of them.
constexpr std::int64_t kChannels = 32;
constexpr std::int64_t kMostLines = 8;  // of results at once
// Where an image is cut some lines are expanded on both sides: at most one of so many.
constexpr std::int64_t kLinesPerExtra = 10;
constexpr std::int64_t kMostLineParts = 4;
constexpr std::int64_t kMostRows = 16;  // of any panel kernel

// One of the body's convolutions on the operands of the whole request, with the image between them channels-last.
KernelRequest stage(const KernelRequest& request, std::size_t index) {
  const Graph& body = *request.as<BodyAttributes>().body;
  const Node& node = body.nodes()[index];
  const auto between = [&body](ValueId value) {
    return Operand{body.type(value), channels_last(body.type(value).shape)};
  };
  KernelRequest result{*node.op, node.attributes, {}, {}};
  for (const ValueId input : node.inputs) {
    const Value& value = body.values()[input];
    result.inputs.push_back(value.producer == kNoNode ? request.inputs[value.output] : between(input));
  }
  const bool last = index + 1 == body.nodes().size();
  result.outputs.push_back(last ? request.outputs[0] : between(node.first_output));
  return result;
}

// The epilogue of such a stage, with its bias where the whole request has it.
KeptEpilogue epilogue_of(const KernelRequest& request, std::size_t index, const ContractionRequest& contraction) {
  const Graph& body = *request.as<BodyAttributes>().body;
  KeptEpilogue epilogue(contraction);
  if (epilogue.bias != ContractionRequest::kNone)
    epilogue.bias = body.values()[body.nodes()[index].inputs[epilogue.bias]].output;
  return epilogue;
}

class ExpandedDepthwise final : public Kernel {
 public:
  ExpandedDepthwise(const KernelRequest& request, PackCache& packs)
      : ExpandedDepthwise(request, stage(request, 0), stage(request, 1), packs) {}

  ConstantUse constant_use(std::size_t input) const override {
    return input == 1 || input == window_weights_ ? ConstantUse::packed : ConstantUse::aligned;
  }
  std::size_t scratch_bytes() const override { return ring_bytes_ * static_cast<std::size_t>(slots_); }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan scratch) const override {
    const Launch launch{data_of<float>(inputs[0]), data_of<float>(outputs[0]), expand_.launch(inputs, outputs),
                        windows_.launch(inputs, outputs), data_of(scratch)};
    cpu_stream(stream).pool().parallel_for(parts(),
                                           [&](std::int64_t part, std::int64_t slot) { run_part(launch, part, slot); });
  }

 private:
  struct Launch {
    const float* x;
    float* y;
    KeptEpilogue::Launch expand, windows;
    std::byte* rings;
  };
  // Some channels, and where their lines of the expanded image are.
  struct Ring {
    std::int64_t channel, channels;
    float* memory;
  };

  ExpandedDepthwise(const KernelRequest& request, const KernelRequest& first, const KernelRequest& second,
                    PackCache& packs)
      : ExpandedDepthwise(request, ContractionRequest(first), ContractionRequest(second), packs) {}

  ExpandedDepthwise(const KernelRequest& request, const ContractionRequest& first, const ContractionRequest& second,
                    PackCache& packs)
      : kernel_(panel_kernel()), expand_(epilogue_of(request, 0, first)), windows_(epilogue_of(request, 1, second)) {
    const ConvolutionRequest expand(first.contraction()), windows(second.contraction());
    const Lines lines =
        lines_of(windows.x->type.shape, windows.w->type.shape, 2, windows.y->type.shape, windows.windows);
    down_ = lines.line[1];
    across_ = lines.line[2];
    images_ = expand.x->type.shape[0];
    depth_ = expand.x->type.shape[1];
    channels_ = windows.x->type.shape[1];
    steps_ = (channels_ + kChannels - 1) / kChannels;
    weights_ = pack_weights(*expand.w->constant, {1, channels_, depth_, 1}, kernel_, packs);
    window_weights_ = first_input_of_second(request);
    windows_packed_ = pack_windows(*windows.w->constant, channels_, down_.window * across_.window, packs);
    run_lines_ = depthwise_lines(down_.window, down_.stride);
    const std::int64_t width = std::min(kChannels, channels_);
    const std::int64_t line_bytes = across_.extent * width * kFloatBytes;
    block_ = std::clamp<std::int64_t>((kRingBytes / line_bytes - down_.window) / down_.stride + 1, 1, kMostLines);
    ring_lines_ = (block_ - 1) * down_.stride + down_.window;
    ring_bytes_ = aligned_size(static_cast<std::size_t>(ring_lines_ * line_bytes));
    zeros_.assign(static_cast<std::size_t>(across_.extent * width), 0.0f);
    // Twice expanded are those lines that windows on both sides of a cut read.
    const std::int64_t shared = std::max<std::int64_t>(down_.window - down_.stride, 1);
    const std::int64_t most = std::max<std::int64_t>(kMostLineParts / images_, 1);
    line_parts_ = std::min({1 + down_.extent / (kLinesPerExtra * shared), most, down_.count});
    if (line_parts_ > 1) line_parts_ -= line_parts_ % 2;
    slots_ = packs.slots(parts());
  }

  // Where the weights of the windows are among the request's inputs.
  static std::size_t first_input_of_second(const KernelRequest& request) {
    const Graph& body = *request.as<BodyAttributes>().body;
    return body.values()[body.nodes()[1].inputs[1]].output;
  }

  std::int64_t parts() const { return images_ * line_parts_ * steps_; }

  void run_part(const Launch& launch, std::int64_t part, std::int64_t slot) const {
    const std::int64_t channel = part % steps_ * kChannels, image = part / steps_ / line_parts_;
    const Range lines = range_of(down_.count, line_parts_, part / steps_ % line_parts_);
    const Ring ring{channel, std::min(kChannels, channels_ - channel),
                    reinterpret_cast<float*>(launch.rings + static_cast<std::size_t>(slot) * ring_bytes_)};
    const float* const x = launch.x + image * down_.extent * across_.extent * depth_;
    float* const y = launch.y + image * down_.count * across_.count * channels_ + channel;
    const float* rows[kMostLines * kMostDepthwiseWindow];
    std::int64_t expanded = std::max<std::int64_t>(down_.place(lines.begin, 0), 0);
    for (std::int64_t from = lines.begin; from < lines.end; from += block_) {
      const std::int64_t count = std::min(block_, lines.end - from);
      const std::int64_t end = std::min(down_.place(from + count - 1, down_.window - 1) + 1, down_.extent);
      if (end > expanded) expand(launch, x, ring, {expanded, end});
      expanded = std::max(expanded, end);
      const float** row = rows;
      for (std::int64_t line = from; line < from + count; ++line) {
        for (std::int64_t a = 0; a < down_.window; ++a) {
          const std::int64_t at = down_.place(line, a);
          *row++ = at >= 0 && at < down_.extent ? line_of(ring, at) : zeros_.data();
        }
      }
      float* out = y + from * across_.count * channels_;
      const RowsEpilogue finish(launch.windows, &out, 1, channel);
      run_lines_({rows, count, across_.extent, across_.count, across_.pad, ring.channels, ring.channels, channels_,
                  floats_of(*windows_packed_) + channel, out, &finish.get()});
    }
  }

  float* line_of(const Ring& ring, std::int64_t line) const {
    return ring.memory + line % ring_lines_ * across_.extent * ring.channels;
  }
  static const float* floats_of(const Buffer& buffer) {
    return reinterpret_cast<const float*>(static_cast<const CpuBuffer&>(buffer).data());
  }

  void expand(const Launch& launch, const float* x, const Ring& ring, Range lines) const {
    for (std::int64_t first = 0; first < ring.channels; first += kernel_.width)
      expand(launch, x, ring, {first, std::min(first + kernel_.width, ring.channels)}, lines);
  }

  // Those of the ring's channels that one panel has.
  void expand(const Launch& launch, const float* x, const Ring& ring, Range channels, Range lines) const {
    const float* rows[kMostRows];
    float* out[kMostRows];
    const std::int64_t channel = ring.channel + channels.begin;
    const float* const panel =
        floats_of(*weights_) + channel / kernel_.width * kernel_.width * depth_ + channel % kernel_.width;
    const RowsEpilogue finish(launch.expand, out, 1, channel);
    PanelRun run{rows, 0, 1, depth_, panel, out, channels.size(), false, &finish.get()};
    const std::int64_t tile = kernel_.rows_for(run.columns), places = lines.size() * across_.extent;
    const float* from = x + lines.begin * across_.extent * depth_;
    std::int64_t line = lines.begin, left = across_.extent;
    float* to = line_of(ring, line) + channels.begin;
    for (std::int64_t place = 0; place < places; place += tile) {
      run.count = std::min(tile, places - place);
      for (std::int64_t i = 0; i < run.count; ++i) {
        rows[i] = from;
        out[i] = to;
        from += depth_;
        to += ring.channels;
        if (--left > 0) continue;
        left = across_.extent;
        to = line_of(ring, ++line) + channels.begin;
      }
      kernel_.run(run);
    }
  }

  const PanelKernel& kernel_;
  KeptEpilogue expand_, windows_;
  Line down_, across_;
  std::int64_t images_ = 0, depth_ = 0, channels_ = 0;
  std::int64_t steps_ = 1;                   // so many times some of the channels
  std::int64_t block_ = 1, ring_lines_ = 0;  // lines of results at once, of the image that are kept
  std::size_t ring_bytes_ = 0;
  std::int64_t line_parts_ = 1, slots_ = 1;
  std::size_t window_weights_ = 0;
  DepthwiseLines run_lines_ = nullptr;
  std::vector<float> zeros_;  // a line of the image outside of it
  std::shared_ptr<const Buffer> weights_, windows_packed_;
};

bool is_pointwise(const ConvolutionRequest& request) {
  const Shape& weight = request.w->type.shape;
  if (request.groups != 1) return false;
  for (std::size_t d = 0; d < 2; ++d) {
    const Windows& windows = request.windows;
    if (weight[static_cast<int>(d) + 2] != 1 || windows.strides[d] != 1 || windows.pad_low[d] != 0 ||
        windows.pad_high[d] != 0)
      return false;
  }
  return true;
}

const char* refuse(const KernelRequest& node) {
  if (node.as<BodyAttributes>().body->nodes().size() != 2) return refusal::kAttribute;
  const KernelRequest first = stage(node, 0), second = stage(node, 1);
  const ContractionRequest expanding(first), windowing(second);
  for (const ContractionRequest* each : {&expanding, &windowing}) {
    if (const char* const why = each->refuse("convolution")) return why;
    if (each->residual != ContractionRequest::kNone) return refusal::kAttribute;
  }
  if (epilogue_of(node, 1, windowing).bias == 1) return refusal::kOperand;  // which is there packed only
  const ConvolutionRequest expand(expanding.contraction()), windows(windowing.contraction());
  if (node.outputs[0].type.dtype != DType::f32) return refusal::kDType;
  if (expand.spatial() != 2) return refusal::kRank;
  if (expand.empty() || windows.empty()) return refusal::kSize;
  if (expand.w->constant == nullptr || windows.w->constant == nullptr) return refusal::kOperand;
  const std::int64_t channels = windows.x->type.shape[1];
  if (!is_pointwise(expand) || windows.groups != channels || windows.y->type.shape[1] != channels)
    return refusal::kAttribute;
  const Lines lines = lines_of(windows.x->type.shape, windows.w->type.shape, 2, windows.y->type.shape, windows.windows);
  const Line &down = lines.line[1], &across = lines.line[2];
  if (down.window != across.window || down.stride != across.stride || down.dilation != 1 || across.dilation != 1 ||
      depthwise_lines(down.window, down.stride) == nullptr)
    return refusal::kAttribute;
  if (down.extent * across.extent * channels * kFloatBytes < kFarBytes) return refusal::kSize;
  return lies_channels_last(*expand.x) && lies_channels_last(*windows.y) ? nullptr : refusal::kLayout;
}

void prefer(const KernelRequest& node, std::vector<Layout>& inputs, std::vector<Layout>& outputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i] = row_major(node.inputs[i].type.shape);
  inputs[0] = channels_last(node.inputs[0].type.shape);
  outputs[0] = channels_last(node.outputs[0].type.shape);
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache& packs) {
  return std::make_unique<ExpandedDepthwise>(request, packs);
}

constexpr Implementation kTable[] = {{.op = "fused_convolutions",
                                      .kernel = "expanded_depthwise",
                                      .refuse = refuse,
                                      .compile = compile,
                                      .prefer = prefer}};

}  // namespace

std::span<const Implementation> expanded_depthwise_implementations() { return kTable; }

}  // namespace ml::cpu
