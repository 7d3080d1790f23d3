#include "engine/backends/cpu/widened.h"

#include <utility>
#include <vector>

#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/loop_tiles.h"
#include "engine/backends/cpu/partition.h"

namespace ml::cpu {
namespace {

constexpr std::int64_t kRun = 16 * 1024;  // elements that are converted as one part

bool narrow(const Operand& operand) { return operand.type.dtype == DType::f16 || operand.type.dtype == DType::bf16; }

std::vector<Operand> widen(const std::vector<Operand>& operands) {
  std::vector<Operand> wide = operands;
  for (Operand& operand : wide) {
    if (!narrow(operand)) continue;
    operand.type.dtype = DType::f32;
    operand.layout = row_major(operand.type.shape);
    operand.constant = nullptr;
  }
  return wide;
}

KernelRequest widen(const KernelRequest& request) {
  return {request.op, request.attributes, widen(request.inputs), widen(request.outputs)};
}

class Widened final : public Kernel {
 public:
  Widened(const KernelRequest& request, PackCache& packs, Compile compile) : inner_(compile(widen(request), packs)) {
    scratch_ = aligned_size(inner_->scratch_bytes());
    for (const Operand& operand : request.inputs) inputs_.push_back(conversion(operand));
    for (const Operand& operand : request.outputs) outputs_.push_back(conversion(operand));
  }

  std::size_t scratch_bytes() const override { return scratch_; }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan scratch) const override {
    ThreadPool& pool = cpu_stream(stream).pool();
    std::vector<BufferSpan> in(inputs.begin(), inputs.end()), out(outputs.begin(), outputs.end());
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      const Conversion& conversion = inputs_[i];
      if (!conversion.needed) continue;
      in[i] = at(scratch, conversion);
      const auto* const from = data_of<std::uint16_t>(inputs[i]);
      auto* const to = data_of<float>(in[i]);
      const ReadFunction read = read_function(conversion.dtype);
      each_run(pool, conversion.elements,
               [&](std::int64_t begin, std::size_t n) { read(to + begin, from + begin, 1, n); });
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      if (outputs_[i].needed && outputs[i].buffer != nullptr) out[i] = at(scratch, outputs_[i]);
    }
    inner_->launch(stream, in, out, {scratch.buffer, scratch.offset, inner_->scratch_bytes()});
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      const Conversion& conversion = outputs_[i];
      if (!conversion.needed || outputs[i].buffer == nullptr) continue;
      const auto* const from = data_of<float>(out[i]);
      auto* const to = data_of<std::uint16_t>(outputs[i]);
      const WriteFunction write = write_function(conversion.dtype);
      each_run(pool, conversion.elements,
               [&](std::int64_t begin, std::size_t n) { write(to + begin, 1, from + begin, n); });
    }
  }

 private:
  struct Conversion {
    bool needed = false;
    DType dtype = DType::f32;
    std::int64_t elements = 0;
    std::size_t offset = 0;  // of the f32 copy in the scratch
  };

  Conversion conversion(const Operand& operand) {
    if (!narrow(operand)) return {};
    const std::int64_t elements = operand.type.shape.elements();
    const Conversion result{true, operand.type.dtype, elements, scratch_};
    scratch_ += aligned_size(static_cast<std::size_t>(elements) * sizeof(float));
    return result;
  }

  static BufferSpan at(const BufferSpan& scratch, const Conversion& conversion) {
    return {scratch.buffer, scratch.offset + conversion.offset,
            static_cast<std::size_t>(conversion.elements) * sizeof(float)};
  }

  template <class F>
  static void each_run(ThreadPool& pool, std::int64_t elements, F f) {
    pool.parallel_for((elements + kRun - 1) / kRun, [&](std::int64_t part) {
      const std::int64_t begin = part * kRun;
      f(begin, static_cast<std::size_t>(std::min(kRun, elements - begin)));
    });
  }

  std::unique_ptr<Kernel> inner_;
  std::vector<Conversion> inputs_, outputs_;
  std::size_t scratch_ = 0;
};

}  // namespace

const char* refuse_widened(const KernelRequest& request, Refuse refuse) {
  bool any = false;
  for (const auto* operands : {&request.inputs, &request.outputs}) {
    for (const Operand& operand : *operands) {
      any = any || narrow(operand);
      if (narrow(operand) && operand.layout != row_major(operand.type.shape)) return refusal::kLayout;
    }
  }
  if (!any) return refusal::kDType;
  return refuse != nullptr ? refuse(widen(request)) : nullptr;
}

std::unique_ptr<Kernel> compile_widened(const KernelRequest& request, PackCache& packs, Compile compile) {
  return std::make_unique<Widened>(request, packs, compile);
}

}  // namespace ml::cpu
