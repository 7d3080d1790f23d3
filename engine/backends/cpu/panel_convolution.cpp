// Convolutions of f32 that lie channels-last, with constant weights packed once per program into panels.
//
// A convolution is a product whose left rows are found by address: for each position of the window (a tap) the row of a
// result is the channels of the place under it, or a row of zeros in the padding. Where an image has few channels, the
// taps of one line of the window are one run of memory once the lines have their padding; such images are copied first,
// and may lie as they come (row-major) where they have the channels of a picture.
#include <algorithm>
#include <cstring>

#include "engine/backends/cpu/channels_last.h"
#include "engine/backends/cpu/convolution_geometry.h"
#include "engine/backends/cpu/convolution_pack.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/epilogue.h"
#include "engine/backends/cpu/interleave.h"
#include "engine/backends/cpu/panel.h"
#include "engine/backends/cpu/partition.h"

namespace ml::cpu {
namespace {

constexpr double kFlopsPerPart = 5e5;
constexpr std::int64_t kFewChannels = 16;
constexpr std::int64_t kCacheBytes = 1024 * 1024;  // of weights that stay in the second-level cache
constexpr std::int64_t kNearBytes = 160 * 1024;    // of weights that are fetched from there fast enough
constexpr std::int64_t kFewTiles = 48;             // of an image that passes by for each panel of others
constexpr std::int64_t kTwiceBytes = 512 * 1024;   // of weights that both halves of an image go through
constexpr std::int64_t kTilesOfHalves = 16;        // of an image whose halves are large enough for that
constexpr std::int64_t kMostRows = 16;             // of any panel kernel
constexpr std::int64_t kChunkBytes = 512 * 1024;   // of weights that are used by one tile after the other
constexpr std::int64_t kLineFloats = 16;           // of a cache line
constexpr std::int64_t kManyAddresses = 8192;      // of rows, on the stack

// Channels of a group beside which a panel's width is not wasted.
constexpr std::int64_t kLeastChannels = 4;

Lines forward_lines(const ConvolutionRequest& request) {
  return lines_of(request.x->type.shape, request.w->type.shape, 2, request.y->type.shape, request.windows);
}

// Of an image's line that holds its padding, in places.
std::int64_t padded_length(const Line& line) {
  const std::int64_t reach = line.place(line.count - 1, line.window - 1) + 1;  // where the last window ends
  return line.extent + line.pad + std::max<std::int64_t>(reach - line.extent, 0);
}

// Whether a line of the window becomes one tap.
bool joins_taps(const ConvolutionRequest& request) {
  if (request.groups != 1 || request.x->type.shape[1] >= kFewChannels) return false;
  const Line across = forward_lines(request).line[2];
  return across.window > 1 && across.dilation == 1 && padded_length(across) <= 4 * (across.extent + across.window);
}

class PanelConvolution final : public Kernel {
 public:
  PanelConvolution(const ContractionRequest& whole, PackCache& packs) : kernel_(panel_kernel()), epilogue_(whole) {
    const ConvolutionRequest request(whole.contraction());
    lines_ = forward_lines(request);
    groups_ = request.groups;
    images_ = request.x->type.shape[0];
    channels_ = request.x->type.shape[1];
    results_ = request.y->type.shape[1];
    depth_ = channels_ / groups_;
    width_ = results_ / groups_;
    panels_ = kernel_.panels(width_);
    taps_ = lines_.line[0].window * lines_.line[1].window * lines_.line[2].window;
    pixels_ = lines_.line[0].count * lines_.line[1].count * lines_.line[2].count;
    packed_ = pack_weights(*request.w->constant, {groups_, width_, depth_, taps_}, kernel_, packs);

    if (joins_taps(request)) {
      planes_ = !lies_channels_last(*request.x);
      join_taps();
    }
    zeros_.assign(static_cast<std::size_t>(depth_), 0.0f);
    place_taps();
    in_order_ = taps_ == 1 && std::ranges::all_of(lines_.line, [](const Line& line) {
                  return line.window == 1 && line.stride == 1 && line.pad == 0 && line.extent == line.count;
                });
    if (in_order_) {  // the images lie behind each other, and so are one
      pixels_ *= images_;
      images_ = 1;
    }
    const std::int64_t tiles = (pixels_ + kernel_.rows - 1) / kernel_.rows;
    const std::int64_t weight_bytes =
        taps_ * depth_ * kernel_.width * panels_ * static_cast<std::int64_t>(sizeof(float));
    // Either all weights pass by for each tile, or all tiles for each panel.
    weights_stay_ = weight_bytes <= kNearBytes || (weight_bytes <= kCacheBytes && (panels_ == 1 || tiles > kFewTiles));
    // Each part of the pixels goes through all weights, or they are read once for all pixels.
    const bool twice = !weights_stay_ && weight_bytes <= kTwiceBytes && tiles >= kTilesOfHalves;
    pixels_first_ = weights_stay_ || twice;
    const std::int64_t wanted = part_count(request.flops(), kFlopsPerPart * 2, 64);
    if (pixels_first_) {
      const std::int64_t most = twice ? 2 : std::max<std::int64_t>(tiles / 4, 1);
      pixel_parts_ = std::clamp<std::int64_t>(wanted / (images_ * groups_), 1, most);
      panel_parts_ = std::clamp<std::int64_t>(wanted / (images_ * groups_ * pixel_parts_), 1, panels_);
    } else {
      panel_parts_ = std::clamp<std::int64_t>(wanted / groups_, 1, panels_);
      pixel_parts_ = pieces_for(groups_ * panel_parts_, packs.pool().threads(),
                                std::clamp<std::int64_t>(wanted, 1, std::max<std::int64_t>(images_ * tiles / 4, 1)));
    }
    rows_ = weights_stay_ ? kernel_.rows_for(width_ - (panels_ - 1) * kernel_.width) : kernel_.rows;
    chunks_ = std::clamp<std::int64_t>(weight_bytes / panels_ / kChunkBytes + 1, 1, taps_);
    // Sums that wait for further taps stand where the result will.
    const bool once = weights_stay_ || chunks_ == 1;
    if (once && whole.residual != ContractionRequest::kNone && whole.may_overwrite(whole.residual))
      in_place_ = whole.residual;
    table_bytes_ = aligned_size(static_cast<std::size_t>(taps_ * rows_) * sizeof(const float*));
    slots_ = packs.slots(parts());
  }

  bool in_place(std::size_t input, std::size_t) const override { return input == in_place_; }
  ConstantUse constant_use(std::size_t input) const override {
    return input == 1 ? ConstantUse::packed : ConstantUse::aligned;
  }

  std::size_t scratch_bytes() const override { return padded_bytes_ + table_bytes_ * static_cast<std::size_t>(slots_); }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan scratch) const override {
    ThreadPool& pool = cpu_stream(stream).pool();
    std::byte* const memory = data_of(scratch);
    const float* x = data_of<float>(inputs[0]);
    if (padded_bytes_ != 0) {
      auto* const padded = reinterpret_cast<float*>(memory);
      const std::int64_t lines = images_ * lines_.line[0].extent * lines_.line[1].extent;
      const std::int64_t chunks = part_count(static_cast<double>(padded_bytes_), 64e3, lines);
      pool.parallel_for(chunks, [&](std::int64_t chunk) { pad_lines(x, padded, range_of(lines, chunks, chunk)); });
      x = padded;
    }
    const Launch launch{x, data_of<float>(outputs[0]), epilogue_.launch(inputs, outputs), memory + padded_bytes_};
    pool.parallel_for(parts(), [&](std::int64_t part, std::int64_t slot) { run_part(launch, part, slot); });
  }

 private:
  struct Launch {
    const float* x;
    float* y;
    KeptEpilogue::Launch epilogue;
    std::byte* tables;
  };
  // A tile of results of one image and group.
  struct Tile {
    std::int64_t image, group, first, count;
  };

  std::int64_t parts() const { return (pixels_first_ ? images_ : 1) * groups_ * pixel_parts_ * panel_parts_; }

  // From here on a line of the window is one tap, and lines of the image hold their padding.
  void join_taps() {
    line_length_ = padded_length(lines_.line[2]);
    padded_bytes_ = aligned_size(
        static_cast<std::size_t>(images_ * lines_.line[0].extent * lines_.line[1].extent * line_length_ * channels_) *
        sizeof(float));
    depth_ *= lines_.line[2].window;
    taps_ /= lines_.line[2].window;
  }

  // How far each tap's row lies behind the first one's, where the whole window is inside of the image.
  void place_taps() {
    const Line &outer = lines_.line[0], &down = lines_.line[1], &across = lines_.line[2];
    const bool joined = padded_bytes_ != 0;
    const std::int64_t length = joined ? line_length_ : across.extent;
    for (std::int64_t a = 0; a < outer.window; ++a) {
      for (std::int64_t b = 0; b < down.window; ++b) {
        for (std::int64_t c = 0; c < (joined ? 1 : across.window); ++c) {
          const std::int64_t line = a * outer.dilation * down.extent + b * down.dilation;
          places_.push_back((line * length + c * across.dilation) * channels_);
        }
      }
    }
  }

  void pad_lines(const float* from, float* to, Range lines) const {
    const std::int64_t given = lines_.line[2].extent * channels_, before = lines_.line[2].pad * channels_;
    const std::int64_t length = line_length_ * channels_;
    const std::int64_t plane_lines = lines_.line[0].extent * lines_.line[1].extent;
    for (std::int64_t line = lines.begin; line < lines.end; ++line) {
      float* const at = to + line * length;
      std::fill(at, at + before, 0.0f);
      if (planes_)
        interleave(from + (line / plane_lines * channels_ * plane_lines + line % plane_lines) * lines_.line[2].extent,
                   plane_lines * lines_.line[2].extent, channels_, lines_.line[2].extent, at + before);
      else
        std::memcpy(at + before, from + line * given, static_cast<std::size_t>(given) * sizeof(float));
      std::fill(at + before + given, at + length, 0.0f);
    }
  }

  void run_part(const Launch& launch, std::int64_t part, std::int64_t slot) const {
    auto* const table = reinterpret_cast<const float**>(launch.tables + static_cast<std::size_t>(slot) * table_bytes_);
    const Part mine = part_of(part);
    if (weights_stay_) {
      for (std::int64_t place = mine.places.begin; place < mine.places.end;) {
        const Tile tile = tile_at(mine, place);
        fill_table(launch.x, tile, table);
        for (std::int64_t panel = mine.panels.begin; panel < mine.panels.end; ++panel)
          run_tile(launch, tile, panel, table, {0, taps_}, {0, 0});
        place += tile.count;
      }
      return;
    }
    // Tables that are used for one panel after the other are filled once, where that isn't too many.
    const float* many[kManyAddresses];
    const bool once = mine.places.size() * taps_ <= kManyAddresses;
    for (std::int64_t place = mine.places.begin; once && place < mine.places.end;) {
      const Tile tile = tile_at(mine, place);
      fill_table(launch.x, tile, many + (place - mine.places.begin) * taps_);
      place += tile.count;
    }
    for (std::int64_t panel = mine.panels.begin; panel < mine.panels.end; ++panel) {
      for (std::int64_t chunk = 0; chunk < chunks_; ++chunk) {
        const Range taps = range_of(taps_, chunks_, chunk);
        for (std::int64_t place = mine.places.begin; place < mine.places.end;) {
          const Tile tile = tile_at(mine, place);
          if (!once) fill_table(launch.x, tile, table);
          run_tile(launch, tile, panel, once ? many + (place - mine.places.begin) * taps_ : table, taps, mine.places);
          place += tile.count;
        }
      }
    }
  }

  // Some panels of a group, and some places of all images that go through them.
  struct Part {
    std::int64_t group;
    Range panels, places;
  };
  // Parts behind each other share what is larger: an image's channels, or weights that are on their way through.
  Part part_of(std::int64_t part) const {
    if (pixels_first_) {
      const std::int64_t panels = part % panel_parts_, pixels = part / panel_parts_ % pixel_parts_;
      part /= panel_parts_ * pixel_parts_;
      const Range own = range_of(pixels_, pixel_parts_, pixels, rows_);
      const std::int64_t before = part / groups_ * pixels_;
      return {part % groups_, range_of(panels_, panel_parts_, panels), {before + own.begin, before + own.end}};
    }
    const std::int64_t pixels = part % pixel_parts_, panels = part / pixel_parts_ % panel_parts_;
    return {part / pixel_parts_ / panel_parts_, range_of(panels_, panel_parts_, panels),
            range_of(images_ * pixels_, pixel_parts_, pixels, rows_)};
  }
  // Of the part's places from `place` on, in one image.
  Tile tile_at(const Part& part, std::int64_t place) const {
    const std::int64_t first = place % pixels_;
    return {place / pixels_, part.group, first, std::min({rows_, part.places.end - place, pixels_ - first})};
  }

  // Where the rows of each tap lie, for every result of the tile.
  void fill_table(const float* x, const Tile& tile, const float** table) const {
    const Line &outer = lines_.line[0], &down = lines_.line[1], &across = lines_.line[2];
    const bool joined = padded_bytes_ != 0;
    const std::int64_t length = joined ? line_length_ : across.extent;
    x += tile.image * outer.extent * down.extent * length * channels_ + tile.group * (joined ? 0 : depth_);
    if (in_order_) {
      x += tile.first * channels_;
      for (std::int64_t i = 0; i < tile.count; ++i) table[i] = x + i * channels_;
      return;
    }
    std::int64_t column = tile.first % across.count, line = tile.first / across.count % down.count;
    std::int64_t plane = tile.first / across.count / down.count;
    for (std::int64_t i = 0; i < tile.count;) {
      // Results of one line, whose rows lie equally far apart.
      const std::int64_t count = std::min(tile.count - i, across.count - column);
      const std::int64_t z0 = outer.place(plane, 0), y0 = down.place(line, 0);
      const std::int64_t x0 = joined ? column * across.stride : across.place(column, 0);
      const bool whole = joined || (across.holds(x0) && across.holds(across.place(column + count - 1, 0)));
      if (whole && outer.holds(z0) && down.holds(y0)) {
        const float* const first = x + ((z0 * down.extent + y0) * length + x0) * channels_;
        const float** entry = table + i;
        for (const std::int64_t place : places_) {
          for (std::int64_t j = 0; j < count; ++j) entry[j] = first + place + j * across.stride * channels_;
          entry += tile.count;
        }
      } else {
        for (std::int64_t j = 0; j < count; ++j) fill_window(x, {plane, line, column + j}, tile.count, table + i + j);
      }
      i += count;
      column = 0;
      if (++line < down.count) continue;
      line = 0;
      ++plane;
    }
  }

  // The rows of one result, whose window may reach into the padding, `step` entries apart.
  struct Result {
    std::int64_t plane, line, column;
  };
  void fill_window(const float* x, const Result& result, std::int64_t step, const float** entry) const {
    const Line &outer = lines_.line[0], &down = lines_.line[1], &across = lines_.line[2];
    const bool joined = padded_bytes_ != 0;
    const std::int64_t length = joined ? line_length_ : across.extent;
    for (std::int64_t a = 0; a < outer.window; ++a) {
      const std::int64_t z = outer.place(result.plane, a);
      for (std::int64_t b = 0; b < down.window; ++b) {
        const std::int64_t y = down.place(result.line, b);
        const bool inside = z >= 0 && z < outer.extent && y >= 0 && y < down.extent;
        const float* const row = inside ? x + (z * down.extent + y) * length * channels_ : nullptr;
        for (std::int64_t c = 0; c < (joined ? 1 : across.window); ++c, entry += step) {
          const std::int64_t at = joined ? result.column * across.stride : across.place(result.column, c);
          *entry = inside && at >= 0 && at < length ? row + at * channels_ : zeros_.data();
        }
      }
    }
  }

  // `users`: the places that use the same weights, so that each tile fetches its share of those behind them; none where
  // they stay in the cache.
  void run_tile(const Launch& launch, const Tile& tile, std::int64_t panel, const float* const* table, Range taps,
                Range users) const {
    const std::int64_t column = panel * kernel_.width, result = tile.group * width_ + column;
    float* out[kMostRows];
    for (std::int64_t i = 0; i < tile.count; ++i)
      out[i] = launch.y + (tile.image * pixels_ + tile.first + i) * results_ + result;
    const RowsEpilogue epilogue(launch.epilogue, out, tile.count, result);
    const auto* const packed = reinterpret_cast<const float*>(static_cast<const CpuBuffer&>(*packed_).data());
    const std::int64_t tap_floats = depth_ * kernel_.width;
    const std::int64_t first = ((tile.group * panels_ + panel) * taps_ + taps.begin) * tap_floats;
    PanelRun run{table + taps.begin * tile.count,
                 tile.count,
                 taps.size(),
                 depth_,
                 packed + first,
                 out,
                 std::min(kernel_.width, width_ - column),
                 taps.begin != 0,
                 taps.end == taps_ ? &epilogue.get() : nullptr};
    if (users.size() != 0) {
      const std::int64_t lines = taps.size() * tap_floats / kLineFloats, behind = first + lines * kLineFloats;
      const std::int64_t most = std::min(lines, (groups_ * panels_ * taps_ * tap_floats - behind) / kLineFloats);
      const std::int64_t place = tile.image * pixels_ + tile.first;
      const Range share = share_of(most, users, {place, place + tile.count});
      run.ahead = packed + behind + share.begin * kLineFloats;
      run.ahead_lines = std::min(share.size(), taps.size() * depth_);
    }
    kernel_.run(run);
  }

  const PanelKernel& kernel_;
  Lines lines_;
  std::int64_t groups_ = 1, images_ = 0, channels_ = 0, results_ = 0;
  std::int64_t depth_ = 0, width_ = 0;  // channels and results of a group
  std::int64_t panels_ = 0;             // of a group
  std::int64_t taps_ = 0, pixels_ = 0;
  std::int64_t rows_ = 0;             // of a tile
  std::vector<std::int64_t> places_;  // per tap, in floats
  bool in_order_ = false;             // each place of the image is the window of the result there
  bool planes_ = false;               // of the image: its channels do not lie innermost
  std::int64_t pixel_parts_ = 1, panel_parts_ = 1, slots_ = 1;
  bool weights_stay_ = true, pixels_first_ = true;
  std::int64_t chunks_ = 1;       // of a panel's taps, where the weights don't stay
  std::int64_t line_length_ = 0;  // with padding, where taps are joined
  std::size_t padded_bytes_ = 0, table_bytes_ = 0;
  std::vector<float> zeros_;
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
  if (request.x->type.shape[1] / request.groups < kLeastChannels && request.groups > 1) return refusal::kSize;
  const bool picture = joins_taps(request) && request.x->type.shape[1] <= kPictureChannels;
  const bool given = lies_channels_last(*request.x) || (picture && lies_row_major(*request.x));
  return given && lies_channels_last(*request.y) ? whole.refuse("convolution") : refusal::kLayout;
}

void prefer(const KernelRequest& node, std::vector<Layout>& inputs, std::vector<Layout>& outputs) {
  prefer_contraction(node, inputs, outputs);
  const ContractionRequest whole(node);
  const ConvolutionRequest request(whole.contraction());
  if (joins_taps(request) && request.x->type.shape[1] <= kPictureChannels) inputs[0] = row_major(request.x->type.shape);
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache& packs) {
  return std::make_unique<PanelConvolution>(ContractionRequest(request), packs);
}

constexpr Implementation row(const char* op) {
  return {.op = op, .kernel = "panel_convolution", .refuse = refuse, .compile = compile, .prefer = prefer};
}

constexpr Implementation kTable[] = {row("convolution"), row("fused_contraction")};

}  // namespace

std::span<const Implementation> panel_convolution_implementations() { return kTable; }

}  // namespace ml::cpu
