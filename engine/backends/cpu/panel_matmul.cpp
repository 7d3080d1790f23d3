// Products of f32 with a constant right operand, packed once per program into panels.
//
// The rows of all batches are one tall matrix. Where they stay in the second-level cache, they pass by for one panel
// after the other, so that each panel is read from memory once. Otherwise they are cut into blocks that do, and all
// panels pass by for one block after the other. Where few whole rows fit, blocks are cut from pieces of them, and what
// is summed up by then waits in the result.
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/epilogue.h"
#include "engine/backends/cpu/matmul_shape.h"
#include "engine/backends/cpu/packed_buffer.h"
#include "engine/backends/cpu/panel.h"
#include "engine/backends/cpu/panel_pack.h"
#include "engine/backends/cpu/partition.h"

namespace ml::cpu {
namespace {

constexpr double kFlopsPerPart = 5e5;
constexpr std::int64_t kFloatBytes = sizeof(float);
constexpr std::int64_t kBlockBytes = 512 * 1024;  // of the left operand
constexpr std::int64_t kPieceFloats = 1024;       // at most, of rows that are cut

class PanelMatmul final : public Kernel {
 public:
  PanelMatmul(const ContractionRequest& request, PackCache& packs)
      : shape_(request.contraction()), kernel_(panel_kernel()), epilogue_(request) {
    rows_ = shape_.m * static_cast<std::int64_t>(shape_.batches.size());
    panels_ = kernel_.panels(shape_.n);
    const std::int64_t tiles = (rows_ + kernel_.rows - 1) / kernel_.rows;
    depth_ = shape_.k;
    if (rows_ * shape_.k * kFloatBytes > kBlockBytes) {
      const std::int64_t pieces = (shape_.k + kPieceFloats - 1) / kPieceFloats;
      depth_ = (shape_.k + pieces - 1) / pieces;
    }
    const std::int64_t block = std::max<std::int64_t>(kBlockBytes / (depth_ * kFloatBytes), kernel_.rows);
    const double flops =
        2.0 * static_cast<double>(rows_) * static_cast<double>(shape_.n) * static_cast<double>(shape_.k);
    const std::int64_t wanted = part_count(flops, kFlopsPerPart, 64);
    blocks_first_ = rows_ > block;
    if (blocks_first_) {
      row_parts_ = (rows_ + block - 1) / block;
      panel_parts_ = std::clamp<std::int64_t>(wanted / row_parts_, 1, panels_);
    } else {
      panel_parts_ = std::min(wanted, panels_);
      row_parts_ = pieces_for(panel_parts_, packs.pool().threads(), std::min(wanted, tiles));
    }
    packed_ = pack(*request.contraction().inputs[1].constant, packs);
    const bool waits = depth_ < shape_.k && request.residual_last;
    if (request.residual != ContractionRequest::kNone && request.may_overwrite(request.residual) && !waits)
      in_place_ = request.residual;
  }

  // The residual is read before the first sums take its place.
  bool in_place(std::size_t input, std::size_t) const override { return input == in_place_; }
  ConstantUse constant_use(std::size_t input) const override {
    return input == 1 ? ConstantUse::packed : ConstantUse::aligned;
  }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan) const override {
    const auto* const a = data_of<float>(inputs[0]);
    auto* const c = data_of<float>(outputs[0]);
    KeptEpilogue::Launch first = epilogue_.launch(inputs, outputs), last = first;
    if (depth_ < shape_.k) {
      // The residual comes with the first sums, because these may take its place, unless it is added to what becomes of
      // all of them.
      first.epilogue.clamps = false;
      first.epilogue.function = Function::none;
      (epilogue_.residual_last ? first : last).residual = nullptr;
      last.bias = nullptr;
    }
    for (std::int64_t from = 0; from < shape_.k; from += depth_) {
      const KeptEpilogue::Launch& epilogue = from == 0 ? first : last;
      cpu_stream(stream).pool().parallel_for(panel_parts_ * row_parts_, [&](std::int64_t part) {
        // Parts behind each other use the same block.
        const Range rows = range_of(rows_, row_parts_, blocks_first_ ? part / panel_parts_ : part % row_parts_);
        const Range panels = range_of(panels_, panel_parts_, blocks_first_ ? part % panel_parts_ : part / row_parts_);
        for (std::int64_t panel = panels.begin; panel < panels.end; ++panel) run(a, c, rows, {panel, from}, epilogue);
      });
    }
  }

 private:
  std::shared_ptr<const Buffer> pack(const ConstantData& constant, PackCache& packs) const {
    const std::string format = "panels width=" + std::to_string(kernel_.width) + " k=" + std::to_string(shape_.k) +
                               "/" + std::to_string(shape_.b.row) + " n=" + std::to_string(shape_.n) + "/" +
                               std::to_string(shape_.b.column);
    return packs.get(constant, format, [&] {
      const auto floats = static_cast<std::size_t>(panels_ * shape_.k * kernel_.width);
      auto buffer = PackedBuffer::make(packs, floats * sizeof(float));
      const PanelSource source{.depth = shape_.k, .columns = shape_.n, .strides = shape_.b};
      pack_panels(constant, source, kernel_.width, reinterpret_cast<float*>(buffer->data()), packs.pool());
      buffer->complete();
      return buffer;
    });
  }

  // Where the part of a panel begins that is multiplied at once, row `from` of it.
  struct Piece {
    std::int64_t panel, from;
  };
  const float* at(const Piece& piece) const {
    const auto* const packed = reinterpret_cast<const float*>(static_cast<const CpuBuffer&>(*packed_).data());
    return packed + (piece.panel * shape_.k + piece.from) * kernel_.width;
  }

  void run(const float* a, float* c, Range rows, const Piece& piece, const KeptEpilogue::Launch& epilogue) const {
    const float* left[kMostRows];
    float* out[kMostRows];
    PanelRun run{left, 0, 1, std::min(depth_, shape_.k - piece.from), at(piece), out, 0, piece.from > 0, nullptr};
    const std::int64_t column = piece.panel * kernel_.width;
    run.columns = std::min(kernel_.width, shape_.n - column);
    // What comes behind this piece is fetched while this one is in use, a share of it with each tile.
    const bool last = piece.panel + 1 == panels_;
    const Piece next = last ? Piece{0, piece.from + depth_} : Piece{piece.panel + 1, piece.from};
    const std::int64_t lines = std::clamp<std::int64_t>(shape_.k - next.from, 0, depth_) * kernel_.width / kLineFloats;
    const std::int64_t tiles = (rows.size() + kernel_.rows - 1) / kernel_.rows;
    for (std::int64_t i = 0; i < tiles; ++i) {
      const Range tile = range_of(rows, tiles, i);
      run.count = tile.size();
      for (std::int64_t row = tile.begin; row < tile.end; ++row) {
        const auto& batch = shape_.batches[static_cast<std::size_t>(row / shape_.m)];
        const std::int64_t line = row % shape_.m;
        left[row - tile.begin] = a + batch.a + line * shape_.a.row + piece.from;
        out[row - tile.begin] = c + batch.c + line * shape_.c.row + column;
      }
      const Range share = share_of(lines, rows, tile);
      run.ahead = at(next) + share.begin * kLineFloats;
      run.ahead_lines = std::min(share.size(), run.depth);
      const RowsEpilogue finish(epilogue, out, run.count, column);
      run.epilogue = piece.from == 0 || piece.from + depth_ >= shape_.k ? &finish.get() : nullptr;
      kernel_.run(run);
    }
  }

  static constexpr std::int64_t kMostRows = 16;
  static constexpr std::int64_t kLineFloats = 16;  // of a cache line

  MatmulShape shape_;
  const PanelKernel& kernel_;
  std::int64_t rows_ = 0, panels_ = 0;
  std::int64_t depth_ = 0;  // elements of rows that are read again and again
  bool blocks_first_ = false;
  std::int64_t panel_parts_ = 1, row_parts_ = 1;
  KeptEpilogue epilogue_;
  std::size_t in_place_ = ContractionRequest::kNone;
  std::shared_ptr<const Buffer> packed_;
};

const char* refuse(const KernelRequest& node) {
  const ContractionRequest whole(node);
  if (const char* const why = whole.refuse("matmul")) return why;
  const KernelRequest& request = whole.contraction();
  if (request.inputs[0].type.dtype != DType::f32) return refusal::kDType;
  if (request.inputs[1].constant == nullptr) return refusal::kOperand;
  const MatmulShape shape(request);
  if (shape.m == 0 || shape.n == 0 || shape.k == 0 || shape.batches.empty()) return refusal::kSize;
  for (const MatmulShape::Batch& batch : shape.batches) {
    if (batch.b != shape.batches[0].b) return refusal::kSize;
  }
  const bool dense_rows = (shape.a.column == 1 || shape.k == 1) && (shape.c.column == 1 || shape.n == 1);
  return dense_rows ? nullptr : refusal::kLayout;
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache& packs) {
  return std::make_unique<PanelMatmul>(ContractionRequest(request), packs);
}

constexpr Implementation kTable[] = {
    {.op = "matmul", .kernel = "panel_matmul", .refuse = refuse, .compile = compile},
    {.op = "fused_contraction", .kernel = "panel_matmul", .refuse = refuse, .compile = compile},
};

}  // namespace

std::span<const Implementation> panel_matmul_implementations() { return kTable; }

}  // namespace ml::cpu
