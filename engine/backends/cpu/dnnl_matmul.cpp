// Matrix products of f32 by oneDNN, of f16 and bf16 through f32.
//
// One product is cut along its longer side; products of a batch are parts of their own. A constant right operand is
// packed once per program into the form that oneDNN likes best.
#include <map>
#include <utility>
#include <vector>

#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/dnnl_support.h"
#include "engine/backends/cpu/matmul_shape.h"
#include "engine/backends/cpu/partition.h"
#include "engine/backends/cpu/widened.h"

namespace ml::cpu {
namespace {

constexpr double kFlopsPerPart = 4e6;
constexpr std::int64_t kUnit = 32;  // rows or columns: whole blocks of the kernels

// oneDNN's kernels want one of the two strides to be 1 and the other to step over whole rows.
bool plain(const MatrixStrides& strides, std::int64_t rows, std::int64_t columns) {
  return (strides.column == 1 && strides.row >= columns) || (strides.row == 1 && strides.column >= rows);
}

class Matmul final : public Kernel {
 public:
  Matmul(const KernelRequest& request, PackCache& packs) : shape_(request) {
    const double flops =
        2.0 * static_cast<double>(shape_.m) * static_cast<double>(shape_.n) * static_cast<double>(shape_.k);
    by_column_ = shape_.n > shape_.m;
    const std::int64_t side = by_column_ ? shape_.n : shape_.m;
    cuts_ = part_count(flops, kFlopsPerPart, std::min<std::int64_t>(side / kUnit, 16));
    const ConstantData* const constant = shape_.batches.size() == 1 ? request.inputs[1].constant : nullptr;
    const SingleThread single;
    for (std::int64_t cut = 0; cut < cuts_; ++cut) {
      const Range range = range_of(side, cuts_, cut, kUnit);
      const std::int64_t m = by_column_ ? shape_.m : range.size(), n = by_column_ ? range.size() : shape_.n;
      Product& product = products_[{m, n}];
      if (!product.primitive) product = make(m, n, constant != nullptr);
      if (constant == nullptr || product.b == product.b_given) continue;
      const Range columns = by_column_ ? range : Range{0, shape_.n};
      packed_.resize(static_cast<std::size_t>(cuts_));
      packed_[static_cast<std::size_t>(cut)] = pack(*constant, product, columns, packs);
    }
    for (const auto& [size, product] : products_) scratchpad_ = std::max(scratchpad_, product.scratchpad);
    // Products of a batch share few scratchpads: one for each run of them.
    runs_ = cuts_ > 1 ? static_cast<std::int64_t>(shape_.batches.size())
                      : part_count(flops * static_cast<double>(shape_.batches.size()), kFlopsPerPart / 4,
                                   static_cast<std::int64_t>(shape_.batches.size()));
  }

  ConstantUse constant_use(std::size_t input) const override {
    return input == 1 && !packed_.empty() ? ConstantUse::packed : ConstantUse::aligned;
  }
  std::size_t scratch_bytes() const override {
    return static_cast<std::size_t>(cuts_ > 1 ? cuts_ : runs_) * aligned_size(scratchpad_);
  }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan scratch) const override {
    ThreadPool& pool = cpu_stream(stream).pool();
    const auto* const a = data_of<float>(inputs[0]);
    const auto* const b = data_of<float>(inputs[1]);
    auto* const c = data_of<float>(outputs[0]);
    std::byte* const pads = data_of(scratch);
    const auto batches = static_cast<std::int64_t>(shape_.batches.size());
    if (cuts_ > 1) {
      for (std::int64_t batch = 0; batch < batches; ++batch) {
        pool.parallel_for(cuts_, [&](std::int64_t cut) { run(a, b, c, batch, cut, pad(pads, cut)); });
      }
    } else {
      pool.parallel_for(runs_, [&](std::int64_t part) {
        const Range range = range_of(batches, runs_, part);
        for (std::int64_t batch = range.begin; batch < range.end; ++batch) run(a, b, c, batch, 0, pad(pads, part));
      });
    }
  }

 private:
  struct Product {
    dnnl::matmul primitive;
    dnnl::memory::desc a, b, b_given, c, pad;
    std::size_t scratchpad = 0;
  };

  Product make(std::int64_t m, std::int64_t n, bool packs) const {
    const std::int64_t k = shape_.k;
    const auto desc = [](std::int64_t rows, std::int64_t columns, const MatrixStrides& strides) {
      return dense_desc(std::array{rows, columns}, std::array{strides.row, strides.column});
    };
    Product product;
    product.b_given = desc(k, n, shape_.b);
    const dnnl::matmul::primitive_desc pd(
        dnnl::matmul::desc(desc(m, k, shape_.a), packs ? any_desc(std::array{k, n}) : product.b_given,
                           desc(m, n, shape_.c)),
        user_scratchpad(), dnnl_engine());
    product.primitive = dnnl::matmul(pd);
    product.a = pd.src_desc();
    product.b = pd.weights_desc();
    product.c = pd.dst_desc();
    product.pad = pd.scratchpad_desc();
    product.scratchpad = product.pad.get_size();
    return product;
  }

  std::shared_ptr<const Buffer> pack(const ConstantData& constant, const Product& product, const Range& columns,
                                     PackCache& packs) const {
    const std::string format = "dnnl_matmul " + dnnl_fingerprint() + " m=" + std::to_string(shape_.m) +
                               " k=" + std::to_string(shape_.k) + "/" + std::to_string(shape_.b.row) + "," +
                               std::to_string(shape_.b.column) + " columns=" + std::to_string(columns.begin) + "-" +
                               std::to_string(columns.end);
    return packs.get(constant, format, [&] {
      auto buffer = std::make_shared<CpuBuffer>(product.b.get_size());
      // Constants lie at any alignment; oneDNN wants that of a float.
      const auto bytes = constant.bytes();
      CpuBuffer aligned(bytes.size());
      std::copy(bytes.begin(), bytes.end(), aligned.data());
      reorder(product.b_given,
              aligned.data() + static_cast<std::size_t>(columns.begin * shape_.b.column) * sizeof(float), product.b,
              buffer->data());
      return buffer;
    });
  }

  std::byte* pad(std::byte* pads, std::int64_t part) const {
    return pads + static_cast<std::size_t>(part) * aligned_size(scratchpad_);
  }

  void run(const float* a, const float* b, float* c, std::int64_t batch, std::int64_t cut,
           std::byte* scratchpad) const {
    const MatmulShape::Batch& at = shape_.batches[static_cast<std::size_t>(batch)];
    const Range range = range_of(by_column_ ? shape_.n : shape_.m, cuts_, cut, kUnit);
    const std::int64_t m = by_column_ ? shape_.m : range.size(), n = by_column_ ? range.size() : shape_.n;
    const Product& product = products_.at({m, n});
    const std::int64_t a_from = by_column_ ? 0 : range.begin * shape_.a.row;
    const std::int64_t b_from = by_column_ ? range.begin * shape_.b.column : 0;
    const std::int64_t c_from = range.begin * (by_column_ ? shape_.c.column : shape_.c.row);
    void* right = nullptr;
    if (packed_.empty()) {
      right = const_cast<float*>(b + at.b + b_from);
    } else {
      right = static_cast<const CpuBuffer&>(*packed_[static_cast<std::size_t>(cut)]).data();
    }
    const DnnlArgument arguments[] = {{DNNL_ARG_SRC, product.a, const_cast<float*>(a + at.a + a_from)},
                                      {DNNL_ARG_WEIGHTS, product.b, right},
                                      {DNNL_ARG_DST, product.c, c + at.c + c_from},
                                      {DNNL_ARG_SCRATCHPAD, product.pad, scratchpad}};
    execute(product.primitive, arguments);
  }

  MatmulShape shape_;
  bool by_column_ = false;
  std::int64_t cuts_ = 1;  // parts of one product
  std::int64_t runs_ = 1;  // parts of a batch of uncut products
  std::map<std::pair<std::int64_t, std::int64_t>, Product> products_;
  std::vector<std::shared_ptr<const Buffer>> packed_;  // per cut, or empty
  std::size_t scratchpad_ = 0;
};

const char* refuse(const KernelRequest& request) {
  if (request.inputs[0].type.dtype != DType::f32) return refusal::kDType;
  const MatmulShape shape(request);
  if (shape.m == 0 || shape.n == 0 || shape.k == 0 || shape.batches.empty()) return refusal::kSize;
  const bool laid_out =
      plain(shape.a, shape.m, shape.k) && plain(shape.b, shape.k, shape.n) && plain(shape.c, shape.m, shape.n);
  return laid_out ? nullptr : refusal::kLayout;
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache& packs) {
  return std::make_unique<Matmul>(request, packs);
}

constexpr Implementation kTable[] = {
    {.op = "matmul", .kernel = "dnnl_matmul", .refuse = refuse, .compile = compile},
    {.op = "matmul", .kernel = "dnnl_matmul_widened", .refuse = widened_refusal<refuse>, .compile = widened<compile>},
};

}  // namespace

std::span<const Implementation> dnnl_matmul_implementations() { return kTable; }

}  // namespace ml::cpu
