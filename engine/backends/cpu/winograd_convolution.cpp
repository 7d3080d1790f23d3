// 3x3 convolutions of f32 with stride 1 by Winograd's algorithm, channels-last, with constant weights transformed and
// packed once per program.
//
// A part takes tiles in blocks that stay in the second-level cache: it transforms the image under a block, multiplies
// for each of the 36 products the block's channels with that product's panels, and transforms the sums into results.
#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/backends/cpu/channels_last.h"
#include "engine/backends/cpu/convolution_geometry.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/epilogue.h"
#include "engine/backends/cpu/packed_buffer.h"
#include "engine/backends/cpu/panel.h"
#include "engine/backends/cpu/panel_pack.h"
#include "engine/backends/cpu/partition.h"
#include "engine/backends/cpu/winograd.h"

namespace ml::cpu {
namespace {

constexpr double kFlopsPerPart = 1e6;       // of the direct convolution
constexpr std::int64_t kTilesPerPart = 24;  // at least: each part reads all weights
constexpr std::int64_t kBlockBytes = 1024 * 1024;
constexpr std::int64_t kWindow = 9;       // weights of a window
constexpr std::int64_t kMostRows = 16;    // of any panel kernel
constexpr std::int64_t kLineFloats = 16;  // of a cache line
// Below these the transforms, or weights that are read for too few tiles, cost more than is saved.
constexpr std::int64_t kLeastChannels = 32;
constexpr std::int64_t kLeastTiles = 32;
constexpr std::int64_t kLargeBytes = 4 * 1024 * 1024;  // of weights that don't stay in any cache near
constexpr std::int64_t kLeastTilesOfLarge = 96;

std::int64_t tiles_along(const Line& line) { return (line.count + kWinogradResults - 1) / kWinogradResults; }

class WinogradConvolution final : public Kernel {
 public:
  WinogradConvolution(const ContractionRequest& whole, PackCache& packs)
      : panel_(panel_kernel()), winograd_(winograd_kernel()), epilogue_(whole) {
    const ConvolutionRequest request(whole.contraction());
    if (whole.residual != ContractionRequest::kNone && whole.may_overwrite(whole.residual)) in_place_ = whole.residual;
    const Lines lines =
        lines_of(request.x->type.shape, request.w->type.shape, 2, request.y->type.shape, request.windows);
    down_ = lines.line[1];
    across_ = lines.line[2];
    channels_ = request.x->type.shape[1];
    results_ = request.y->type.shape[1];
    panels_ = panel_.panels(results_);
    tiles_ = request.x->type.shape[0] * tiles_along(down_) * tiles_along(across_);
    const std::int64_t tile_bytes =
        kWinogradProducts * (channels_ + results_) * static_cast<std::int64_t>(sizeof(float));
    block_ = std::max<std::int64_t>(kBlockBytes / tile_bytes / panel_.rows, 1) * panel_.rows;
    parts_ = part_count(request.flops(), kFlopsPerPart, tiles_ / kTilesPerPart);
    block_ = std::min(block_, (tiles_ + parts_ - 1) / parts_);
    slots_ = packs.slots(parts_);
    packed_ = pack(*request.w->constant, packs);
  }

  std::size_t scratch_bytes() const override {
    return static_cast<std::size_t>(slots_) * (image_bytes() + result_bytes());
  }

  bool in_place(std::size_t input, std::size_t) const override { return input == in_place_; }
  ConstantUse constant_use(std::size_t input) const override {
    return input == 1 ? ConstantUse::packed : ConstantUse::aligned;
  }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan scratch) const override {
    const auto* const x = data_of<float>(inputs[0]);
    auto* const y = data_of<float>(outputs[0]);
    const KeptEpilogue::Launch epilogue = epilogue_.launch(inputs, outputs);
    cpu_stream(stream).pool().parallel_for(parts_, [&](std::int64_t part, std::int64_t slot) {
      std::byte* const memory = data_of(scratch) + static_cast<std::size_t>(slot) * (image_bytes() + result_bytes());
      auto* const image = reinterpret_cast<float*>(memory);
      auto* const sums = reinterpret_cast<float*>(memory + image_bytes());
      const Range tiles = range_of(tiles_, parts_, part);
      for (std::int64_t from = tiles.begin; from < tiles.end; from += block_) {
        const Range block{from, std::min(from + block_, tiles.end)};
        for (std::int64_t tile = block.begin; tile < block.end; ++tile)
          transform_image(x, tile, image + (tile - from) * channels_);
        multiply(image, sums, block.size());
        for (std::int64_t tile = block.begin; tile < block.end; ++tile)
          transform_results(sums + (tile - from) * results_, tile, y, epilogue);
      }
    });
  }

 private:
  std::size_t image_bytes() const {
    return aligned_size(static_cast<std::size_t>(kWinogradProducts * block_ * channels_) * sizeof(float));
  }
  std::size_t result_bytes() const {
    return aligned_size(static_cast<std::size_t>(kWinogradProducts * block_ * results_) * sizeof(float));
  }

  std::shared_ptr<const Buffer> pack(const ConstantData& constant, PackCache& packs) const {
    return packs.get(constant, "winograd panels width=" + std::to_string(panel_.width), [&] {
      const std::int64_t product_floats = panels_ * channels_ * panel_.width;
      auto buffer =
          PackedBuffer::make(packs, static_cast<std::size_t>(kWinogradProducts * product_floats) * sizeof(float));
      auto* const packed = reinterpret_cast<float*>(buffer->data());
      take_pages(packed, buffer->size());
      const PanelSource source{0, kWindow, 1, channels_, results_, {kWindow, channels_ * kWindow}};
      const PanelReader reader(constant, source);
      packs.pool().parallel_for(panels_,
                                [&](std::int64_t panel) { pack_panel(reader, panel, packed, product_floats); });
      buffer->complete();
      return buffer;
    });
  }

  void pack_panel(const PanelReader& reader, std::int64_t panel, float* packed, std::int64_t product_floats) const {
    const std::int64_t width = panel_.width, first = panel * width, columns = std::min(width, results_ - first);
    std::vector<float> windows(static_cast<std::size_t>(kWindow * width));
    for (std::int64_t channel = 0; channel < channels_; ++channel) {
      for (std::int64_t column = 0; column < columns; ++column) {
        float window[kWindow];
        std::memcpy(window, reader.at(((first + column) * channels_ + channel) * kWindow), sizeof window);
        for (std::int64_t i = 0; i < kWindow; ++i) {
          float& weight = windows[static_cast<std::size_t>(i * width + column)];
          weight = reader.scales() ? static_cast<float>(window[i] * reader.factor(first + column)) : window[i];
        }
      }
      winograd_.weights(windows.data(), width, packed + (panel * channels_ + channel) * width, product_floats);
    }
  }

  // Of a tile: its image, and the first line and column of its results.
  struct Place {
    std::int64_t image, line, column;
  };
  Place place_of(std::int64_t tile) const {
    const std::int64_t columns = tiles_along(across_), lines = tiles_along(down_);
    return {tile / columns / lines, tile / columns % lines * kWinogradResults, tile % columns * kWinogradResults};
  }

  void transform_image(const float* x, std::int64_t tile, float* to) const {
    const Place place = place_of(tile);
    const float* places[kWinogradProducts];
    for (std::int64_t i = 0; i < kWinogradProducts; ++i) {
      const std::int64_t line = place.line - down_.pad + i / kWinogradPlaces;
      const std::int64_t column = place.column - across_.pad + i % kWinogradPlaces;
      const bool inside = line >= 0 && line < down_.extent && column >= 0 && column < across_.extent;
      places[i] = inside ? x + ((place.image * down_.extent + line) * across_.extent + column) * channels_ : nullptr;
    }
    winograd_.image(places, channels_, to, block_ * channels_);
  }

  void multiply(const float* image, float* sums, std::int64_t tiles) const {
    const auto* const packed = reinterpret_cast<const float*>(static_cast<const CpuBuffer&>(*packed_).data());
    const float* rows[kMostRows];
    float* out[kMostRows];
    const std::int64_t runs = (tiles + panel_.rows - 1) / panel_.rows, rows_of_run = (tiles + runs - 1) / runs;
    for (std::int64_t product = 0; product < kWinogradProducts; ++product) {
      for (std::int64_t panel = 0; panel < panels_; ++panel) {
        const std::int64_t column = panel * panel_.width;
        PanelRun run{rows,
                     0,
                     1,
                     channels_,
                     packed + (product * panels_ + panel) * channels_ * panel_.width,
                     out,
                     std::min(panel_.width, results_ - column),
                     false,
                     nullptr};
        for (std::int64_t tile = 0; tile < tiles; tile += rows_of_run) {
          run.count = std::min(rows_of_run, tiles - tile);
          for (std::int64_t i = 0; i < run.count; ++i) {
            rows[i] = image + (product * block_ + tile + i) * channels_;
            out[i] = sums + (product * block_ + tile + i) * results_ + column;
          }
          // The panels behind this one, a share with each run.
          const std::int64_t from =
              (product * panels_ + panel + 1) * channels_ * panel_.width + tile / rows_of_run * channels_ * kLineFloats;
          run.ahead = packed + from;
          run.ahead_lines = std::clamp<std::int64_t>(
              (kWinogradProducts * panels_ * channels_ * panel_.width - from) / kLineFloats, 0, channels_);
          panel_.run(run);
        }
      }
    }
  }

  void transform_results(const float* from, std::int64_t tile, float* y, const KeptEpilogue::Launch& epilogue) const {
    const Place place = place_of(tile);
    float* out[kWinogradResults * kWinogradResults];
    for (std::int64_t i = 0; i < kWinogradResults * kWinogradResults; ++i) {
      const std::int64_t line = place.line + i / kWinogradResults, column = place.column + i % kWinogradResults;
      const bool inside = line < down_.count && column < across_.count;
      out[i] = inside ? y + ((place.image * down_.count + line) * across_.count + column) * results_ : nullptr;
    }
    const RowsEpilogue end(epilogue, out, kWinogradResults * kWinogradResults, 0);
    winograd_.results(from, block_ * results_, results_, out, end.get());
  }

  const PanelKernel& panel_;
  const WinogradKernel& winograd_;
  Line down_, across_;
  std::int64_t channels_ = 0, results_ = 0, panels_ = 0;
  std::int64_t tiles_ = 0, block_ = 0, parts_ = 1, slots_ = 1;
  KeptEpilogue epilogue_;
  std::size_t in_place_ = ContractionRequest::kNone;
  std::shared_ptr<const Buffer> packed_;
};

const char* refuse(const KernelRequest& node) {
  if (node.outputs[0].type.dtype != DType::f32) return refusal::kDType;
  const ContractionRequest whole(node);
  if (const char* const why = whole.refuse("convolution"); why != nullptr && why != refusal::kLayout) return why;
  const ConvolutionRequest request(whole.contraction());
  if (request.empty()) return refusal::kSize;
  if (request.w->constant == nullptr) return refusal::kOperand;
  if (request.spatial() != 2) return refusal::kRank;
  const Shape& weight = request.w->type.shape;
  const bool plain = request.groups == 1 && weight[2] == 3 && weight[3] == 3 && request.windows.strides == Ints{1, 1} &&
                     request.windows.dilations == Ints{1, 1};
  if (!plain) return refusal::kAttribute;
  const Lines lines = lines_of(request.x->type.shape, weight, 2, request.y->type.shape, request.windows);
  const std::int64_t tiles = request.x->type.shape[0] * tiles_along(lines.line[1]) * tiles_along(lines.line[2]);
  const bool large = kWinogradProducts * weight[0] * weight[1] * 4 > kLargeBytes;
  if (weight[0] < kLeastChannels || weight[1] < kLeastChannels || tiles < (large ? kLeastTilesOfLarge : kLeastTiles))
    return refusal::kSize;
  const bool last = lies_channels_last(*request.x) && lies_channels_last(*request.y);
  return last ? whole.refuse("convolution") : refusal::kLayout;
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache& packs) {
  return std::make_unique<WinogradConvolution>(ContractionRequest(request), packs);
}

constexpr Implementation row(const char* op) {
  return {
      .op = op, .kernel = "winograd_convolution", .refuse = refuse, .compile = compile, .prefer = prefer_contraction};
}

constexpr Implementation kTable[] = {row("convolution"), row("fused_contraction")};

}  // namespace

std::span<const Implementation> winograd_convolution_implementations() { return kTable; }

}  // namespace ml::cpu
