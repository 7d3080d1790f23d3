// Products of f32 of few rows with a large constant right operand, which stays where it is: in the mapped file, whose
// pages come as they are read and need no memory of their own.
#include <algorithm>

#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/epilogue.h"
#include "engine/backends/cpu/few_rows.h"
#include "engine/backends/cpu/matmul_shape.h"
#include "engine/backends/cpu/partition.h"

namespace ml::cpu {
namespace {

constexpr std::int64_t kFloatBytes = sizeof(float);
constexpr std::int64_t kLeastBytes = 256 * 1024;  // of a matrix; smaller ones stay in a cache, packed
constexpr std::int64_t kLeastLine = 64;           // elements of a line that are read behind each other
constexpr std::int64_t kColumnUnit = 16;          // a cache line
constexpr std::int64_t kPartBytes = 512 * 1024;
constexpr std::int64_t kPartColumns = 256;  // of lines that are cut: at least, so that they are still read in runs

std::int64_t rows_of(const MatmulShape& shape) { return shape.m * static_cast<std::int64_t>(shape.batches.size()); }

class FewRowsMatmul final : public Kernel {
 public:
  explicit FewRowsMatmul(const ContractionRequest& request)
      : shape_(request.contraction()), kernel_(few_rows_kernel()), epilogue_(request) {
    if (request.residual != ContractionRequest::kNone && request.may_overwrite(request.residual))
      in_place_ = request.residual;
  }

  // The residual of some columns is read before their sums take its place.
  bool in_place(std::size_t input, std::size_t) const override { return input == in_place_; }
  ConstantUse constant_use(std::size_t input) const override {
    return input == 1 ? ConstantUse::bytes : ConstantUse::aligned;
  }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan) const override {
    const auto* const a = data_of<float>(inputs[0]);
    auto* const c = data_of<float>(outputs[0]);
    const KeptEpilogue::Launch epilogue = epilogue_.launch(inputs, outputs);
    ThreadPool& pool = cpu_stream(stream).pool();
    const std::int64_t parts = parts_for(pool.threads());
    pool.parallel_for(parts, [&](std::int64_t part) {
      const Range columns = range_of(shape_.n, parts, part, kColumnUnit);
      const float* rows[kFewRows];
      float* out[kFewRows];
      const std::int64_t count = rows_of(shape_);
      for (std::int64_t i = 0; i < count; ++i) {
        const MatmulShape::Batch& batch = shape_.batches[static_cast<std::size_t>(i / shape_.m)];
        rows[i] = a + batch.a + i % shape_.m * shape_.a.row;
        out[i] = c + batch.c + i % shape_.m * shape_.c.row + columns.begin;
      }
      const RowsEpilogue finish(epilogue, out, count, columns.begin);
      const std::byte* const matrix =
          data_of(inputs[1]) + (shape_.batches[0].b + columns.begin * shape_.b.column) * kFloatBytes;
      const FewRowsRun run{
          rows,           count, shape_.k,     matrix, (adds() ? shape_.b.row : shape_.b.column) * kFloatBytes,
          columns.size(), out,   &finish.get()};
      adds() ? kernel_.add_lines(run) : kernel_.dot_lines(run);
    });
  }

 private:
  bool adds() const { return shape_.b.column == 1; }

  // Each sum is the same in whatever part it is, so there may be as many as suit the threads: lines that are not cut
  // are read fastest, and of few parts each thread has as many.
  std::int64_t parts_for(int threads) const {
    if (threads == 1) return 1;
    if (!adds()) return std::clamp<std::int64_t>(shape_.n * shape_.k * kFloatBytes / kPartBytes, 1, 64);
    const std::int64_t most = std::clamp<std::int64_t>(shape_.n / kPartColumns, 1, 2 * threads);
    return most < threads ? most : most / threads * threads;
  }

  MatmulShape shape_;
  const FewRowsKernel& kernel_;
  KeptEpilogue epilogue_;
  std::size_t in_place_ = ContractionRequest::kNone;
};

const char* refuse(const KernelRequest& node) {
  const ContractionRequest whole(node);
  if (const char* const why = whole.refuse("matmul")) return why;
  const KernelRequest& request = whole.contraction();
  if (request.inputs[0].type.dtype != DType::f32) return refusal::kDType;
  if (request.inputs[1].constant == nullptr) return refusal::kOperand;
  const MatmulShape shape(request);
  if (shape.batches.empty() || shape.m == 0 || rows_of(shape) > kFewRows) return refusal::kSize;
  if (shape.n * shape.k < kLeastBytes / kFloatBytes) return refusal::kSize;
  for (const MatmulShape::Batch& batch : shape.batches) {
    if (batch.b != shape.batches[0].b) return refusal::kSize;
  }
  const bool adds = shape.b.column == 1, dots = shape.b.row == 1;
  if (!adds && !dots) return refusal::kLayout;
  if ((adds ? shape.n : shape.k) < kLeastLine) return refusal::kSize;
  return shape.a.column == 1 && shape.c.column == 1 ? nullptr : refusal::kLayout;
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache&) {
  return std::make_unique<FewRowsMatmul>(ContractionRequest(request));
}

constexpr Implementation kTable[] = {
    {.op = "matmul", .kernel = "few_rows_matmul", .refuse = refuse, .compile = compile},
    {.op = "fused_contraction", .kernel = "few_rows_matmul", .refuse = refuse, .compile = compile},
};

}  // namespace

std::span<const Implementation> few_rows_matmul_implementations() { return kTable; }

}  // namespace ml::cpu
