// Products of f32 with a constant right operand, packed once per program into panels.
//
// The rows of all batches are one tall matrix. It is cut into blocks of rows that stay in the second-level cache and
// runs of panels; a part walks its panels one after the other over a block, so that each is read from memory once.
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/epilogue.h"
#include "engine/backends/cpu/matmul_shape.h"
#include "engine/backends/cpu/panel.h"
#include "engine/backends/cpu/panel_pack.h"
#include "engine/backends/cpu/partition.h"

namespace ml::cpu {
namespace {

constexpr double kFlopsPerPart = 5e5;
constexpr std::int64_t kBlockBytes = 512 * 1024;  // of the left operand

class PanelMatmul final : public Kernel {
 public:
  PanelMatmul(const ContractionRequest& request, PackCache& packs)
      : shape_(request.contraction()), kernel_(panel_kernel()), epilogue_(request) {
    rows_ = shape_.m * static_cast<std::int64_t>(shape_.batches.size());
    panels_ = kernel_.panels(shape_.n);
    const std::int64_t row_bytes = shape_.k * static_cast<std::int64_t>(sizeof(float));
    const std::int64_t tiles = (rows_ + kernel_.rows - 1) / kernel_.rows;
    block_ = std::clamp<std::int64_t>(kBlockBytes / row_bytes / kernel_.rows, 1, tiles) * kernel_.rows;
    const double flops =
        2.0 * static_cast<double>(rows_) * static_cast<double>(shape_.n) * static_cast<double>(shape_.k);
    const std::int64_t wanted = part_count(flops, kFlopsPerPart, 64);
    panel_parts_ = std::min(wanted, panels_);
    row_parts_ = std::min(std::max<std::int64_t>(wanted / panel_parts_, 1), tiles);
    packed_ = pack(*request.contraction().inputs[1].constant, packs);
    if (request.residual != ContractionRequest::kNone && request.may_overwrite(request.residual))
      in_place_ = request.residual;
  }

  // Every sum is complete when it is written.
  bool in_place(std::size_t input, std::size_t) const override { return input == in_place_; }
  ConstantUse constant_use(std::size_t input) const override {
    return input == 1 ? ConstantUse::packed : ConstantUse::aligned;
  }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan) const override {
    const auto* const a = data_of<float>(inputs[0]);
    auto* const c = data_of<float>(outputs[0]);
    const KeptEpilogue::Launch epilogue = epilogue_.launch(inputs, outputs);
    cpu_stream(stream).pool().parallel_for(panel_parts_ * row_parts_, [&](std::int64_t part) {
      const Range rows = range_of(rows_, row_parts_, part % row_parts_, kernel_.rows);
      const Range panels = range_of(panels_, panel_parts_, part / row_parts_);
      for (std::int64_t from = rows.begin; from < rows.end; from += block_)
        run(a, c, {from, std::min(from + block_, rows.end)}, panels, epilogue);
    });
  }

 private:
  std::shared_ptr<const Buffer> pack(const ConstantData& constant, PackCache& packs) const {
    const std::string format = "panels width=" + std::to_string(kernel_.width) + " k=" + std::to_string(shape_.k) +
                               "/" + std::to_string(shape_.b.row) + " n=" + std::to_string(shape_.n) + "/" +
                               std::to_string(shape_.b.column);
    return packs.get(constant, format, [&] {
      const auto floats = static_cast<std::size_t>(panels_ * shape_.k * kernel_.width);
      auto buffer = std::make_shared<CpuBuffer>(floats * sizeof(float));
      pack_matrix(constant, shape_.b, shape_.k, shape_.n, kernel_.width, reinterpret_cast<float*>(buffer->data()));
      return buffer;
    });
  }

  void run(const float* a, float* c, Range rows, Range panels, const KeptEpilogue::Launch& epilogue) const {
    const auto* const packed = reinterpret_cast<const float*>(static_cast<const CpuBuffer&>(*packed_).data());
    const float* left[kMostRows];
    float* out[kMostRows];
    PanelRun run{left, 0, 1, shape_.k, nullptr, out, 0, false, nullptr};
    for (std::int64_t panel = panels.begin; panel < panels.end; ++panel) {
      const std::int64_t column = panel * kernel_.width;
      run.panel = packed + column * shape_.k;
      run.columns = std::min(kernel_.width, shape_.n - column);
      for (std::int64_t row = rows.begin; row < rows.end; row += kernel_.rows) {
        run.count = std::min(kernel_.rows, rows.end - row);
        for (std::int64_t i = 0; i < run.count; ++i) {
          const auto& batch = shape_.batches[static_cast<std::size_t>((row + i) / shape_.m)];
          const std::int64_t at = (row + i) % shape_.m;
          left[i] = a + batch.a + at * shape_.a.row;
          out[i] = c + batch.c + at * shape_.c.row + column;
        }
        // The panel behind this one, a share with each run.
        const std::int64_t ahead = (column + kernel_.width) * shape_.k + row / kernel_.rows * shape_.k * kLineFloats;
        run.ahead = packed + ahead;
        run.ahead_lines =
            std::clamp<std::int64_t>((panels_ * shape_.k * kernel_.width - ahead) / kLineFloats, 0, shape_.k);
        const RowsEpilogue end(epilogue, out, run.count, column);
        run.epilogue = &end.get();
        kernel_.run(run);
      }
    }
  }

  static constexpr std::int64_t kMostRows = 16;
  static constexpr std::int64_t kLineFloats = 16;  // of a cache line

  MatmulShape shape_;
  const PanelKernel& kernel_;
  std::int64_t rows_ = 0, panels_ = 0, block_ = 0;
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
