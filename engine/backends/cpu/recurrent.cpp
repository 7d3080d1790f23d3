// LSTM and GRU, step by step. Directions and parts of the batch are independent of each other and run through all steps
// on one thread; where there are few of them and a step is long, its hidden units are cut as well, and the parts of a
// step wait for each other.
#include <algorithm>
#include <cstring>
#include <string>

#include "engine/backends/cpu/axis_view.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/loop_tiles.h"
#include "engine/backends/cpu/partition.h"
#include "engine/backends/cpu/recurrent_step.h"
#include "engine/backends/cpu/widened.h"
#include "engine/graph/ops/recurrent.h"

namespace ml::cpu {
namespace {

constexpr std::int64_t kRowsPerPart = 16;  // two tiles that read the weights one behind the other
constexpr std::int64_t kEnoughParts = 4;
constexpr std::int64_t kMostRowParts = 8;
constexpr double kFlopsPerSlice = 2.5e5;

std::size_t bytes_of(std::int64_t floats) { return aligned_size(static_cast<std::size_t>(floats) * sizeof(float)); }

class RecurrentKernel final : public Kernel {
 public:
  RecurrentKernel(const KernelRequest& request, PackCache& packs) : functions_(recurrent_functions()) {
    const Shape& gates = request.inputs[0].type.shape;
    steps_ = gates[0];
    batch_ = gates[1];
    directions_ = gates[2];
    hidden_ = request.inputs[1].type.shape[2];
    reverse_ = request.as<RecurrentAttributes>().reverse;
    const bool lstm = request.op.name == "lstm";
    cell_ = lstm ? RecurrentCell::lstm : RecurrentCell::gru;
    for (std::size_t i = lstm ? 4 : 3; i < request.inputs.size(); ++i) {
      const DType dtype = request.inputs[i].type.dtype;
      if (is_integer(dtype)) {
        lengths_ = i;
        wide_lengths_ = dtype == DType::i64;
      } else {
        bias_ = i;
        cell_ = RecurrentCell::gru_after;
      }
    }
    line_ = (hidden_ + 15) / 16 * 16;
    packed_floats_ = gate_count(cell_) * functions_.chunks(hidden_) * functions_.lanes * hidden_;

    row_parts_ = std::clamp<std::int64_t>(batch_ / kRowsPerPart, 1, kMostRowParts);
    const double flops = 2.0 * gate_count(cell_) * static_cast<double>(hidden_ * hidden_ * batch_);  // of a step
    if (directions_ * row_parts_ < kEnoughParts) {
      // With two directions there is work for two threads that never waits.
      const double slice = kFlopsPerSlice * (directions_ == 1 ? 1 : 32);
      slices_ = std::min<std::int64_t>(part_count(flops, slice, 8), functions_.chunks(hidden_));
    }
    if (const ConstantData* const r = request.inputs[1].constant) pack_constant(*r, packs);
  }

  ConstantUse constant_use(std::size_t input) const override {
    return input == 1 && packed_ ? ConstantUse::packed : ConstantUse::aligned;
  }
  std::size_t scratch_bytes() const override {
    const std::size_t states = static_cast<std::size_t>(directions_) * direction_bytes();
    return states + within_bytes() + (packed_ ? 0 : static_cast<std::size_t>(directions_) * bytes_of(packed_floats_));
  }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan scratch) const override {
    Launch run{inputs, outputs, data_of(scratch), cpu_stream(stream).pool()};
    if (lengths_ != 0) mark_steps(run);
    if (!packed_) {
      run.pool.parallel_for(directions_, [&](std::int64_t d) {
        functions_.pack(cell_, data_of<float>(inputs[1]) + d * gate_count(cell_) * hidden_ * hidden_, hidden_,
                        unpacked(run, d));
      });
    }
    for (std::int64_t d = 0; d < directions_; ++d) load_states(run, d);
    const std::int64_t independent = directions_ * row_parts_;
    if (slices_ == 1) {
      run.pool.parallel_for(independent, [&](std::int64_t part) {
        for (std::int64_t i = 0; i < steps_; ++i) {
          for (int pass = 0; pass < pass_count(cell_); ++pass) step(run, part, i, pass, 0);
        }
      });
    } else {
      for (std::int64_t i = 0; i < steps_; ++i) {
        for (int pass = 0; pass < pass_count(cell_); ++pass) {
          run.pool.parallel_for(independent * slices_,
                                [&](std::int64_t part) { step(run, part / slices_, i, pass, part % slices_); });
        }
      }
    }
    for (std::int64_t d = 0; d < directions_; ++d) store_states(run, d);
  }

 private:
  struct Launch {
    Spans inputs, outputs;
    std::byte* scratch;
    ThreadPool& pool;
  };

  // Per direction: h twice, then c, or what gru's passes share.
  std::size_t state_bytes() const { return bytes_of(batch_ * line_); }
  std::size_t direction_bytes() const { return 4 * state_bytes(); }
  float* state(const Launch& run, std::int64_t d, std::int64_t number) const {
    return reinterpret_cast<float*>(run.scratch + static_cast<std::size_t>(d) * direction_bytes() +
                                    static_cast<std::size_t>(number) * state_bytes());
  }
  // [T][B]: whether a step is within its sequence.
  std::size_t within_bytes() const {
    return lengths_ == 0 ? 0 : aligned_size(static_cast<std::size_t>(steps_ * batch_));
  }
  std::uint8_t* within(const Launch& run) const {
    return reinterpret_cast<std::uint8_t*>(run.scratch + static_cast<std::size_t>(directions_) * direction_bytes());
  }
  float* unpacked(const Launch& run, std::int64_t d) const {
    return reinterpret_cast<float*>(run.scratch + static_cast<std::size_t>(directions_) * direction_bytes() +
                                    within_bytes() + static_cast<std::size_t>(d) * bytes_of(packed_floats_));
  }

  void pack_constant(const ConstantData& r, PackCache& packs) {
    const std::string format = "recurrent " + std::string(instruction_set()) +
                               " cell=" + std::to_string(static_cast<int>(cell_)) +
                               " hidden=" + std::to_string(hidden_);
    packed_ = packs.get(r, format, [&] {
      // Constants lie at any alignment.
      const auto bytes = r.bytes();
      CpuBuffer aligned(bytes.size());
      std::copy(bytes.begin(), bytes.end(), aligned.data());
      auto buffer = std::make_shared<CpuBuffer>(static_cast<std::size_t>(directions_) * bytes_of(packed_floats_));
      for (std::int64_t d = 0; d < directions_; ++d) {
        functions_.pack(
            cell_, reinterpret_cast<const float*>(aligned.data()) + d * gate_count(cell_) * hidden_ * hidden_, hidden_,
            reinterpret_cast<float*>(buffer->data() + static_cast<std::size_t>(d) * bytes_of(packed_floats_)));
      }
      return buffer;
    });
  }
  const float* weights(const Launch& run, std::int64_t d) const {
    if (!packed_) return unpacked(run, d);
    return reinterpret_cast<const float*>(static_cast<const CpuBuffer&>(*packed_).data() +
                                          static_cast<std::size_t>(d) * bytes_of(packed_floats_));
  }

  void mark_steps(const Launch& run) const {
    std::uint8_t* const marks = within(run);
    for (std::int64_t b = 0; b < batch_; ++b) {
      const std::int64_t length = wide_lengths_ ? data_of<std::int64_t>(run.inputs[lengths_])[b]
                                                : data_of<std::int32_t>(run.inputs[lengths_])[b];
      for (std::int64_t t = 0; t < steps_; ++t) marks[t * batch_ + b] = t < length ? 1 : 0;
    }
  }

  void load_states(const Launch& run, std::int64_t d) const {
    const auto load = [&](std::size_t input, float* to) {
      const float* const from = data_of<float>(run.inputs[input]) + d * batch_ * hidden_;
      for (std::int64_t b = 0; b < batch_; ++b) {
        std::copy_n(from + b * hidden_, hidden_, to + b * line_);
        std::fill_n(to + b * line_ + hidden_, line_ - hidden_, 0.0f);
      }
    };
    load(2, state(run, d, 0));
    std::fill_n(state(run, d, 1), batch_ * line_, 0.0f);
    if (cell_ == RecurrentCell::lstm) load(3, state(run, d, 2));
  }
  void store_states(const Launch& run, std::int64_t d) const {
    const auto store = [&](std::size_t output, const float* from) {
      auto* const to = data_of<float>(run.outputs[output]);
      if (to == nullptr) return;
      for (std::int64_t b = 0; b < batch_; ++b) std::copy_n(from + b * line_, hidden_, to + (d * batch_ + b) * hidden_);
    };
    store(1, state(run, d, steps_ % 2));
    if (cell_ == RecurrentCell::lstm) store(2, state(run, d, 2));
  }

  // Step i in the direction's order, for one independent part and one slice of its units.
  void step(const Launch& run, std::int64_t part, std::int64_t i, int pass, std::int64_t slice) const {
    const std::int64_t d = part / row_parts_;
    const std::int64_t t = reverse_ || d == 1 ? steps_ - 1 - i : i;
    const std::int64_t rows = gate_count(cell_) * hidden_;
    auto* const y = data_of<float>(run.outputs[0]);
    RecurrentStep s{};
    s.hidden = hidden_;
    s.line = line_;
    s.gates = data_of<float>(run.inputs[0]) + (t * batch_ * directions_ + d) * rows;
    s.gates_stride = directions_ * rows;
    s.weights = weights(run, d);
    s.bias = bias_ == 0 ? nullptr : data_of<float>(run.inputs[bias_]) + d * hidden_;
    s.within = lengths_ == 0 ? nullptr : within(run) + t * batch_;
    s.h = state(run, d, i % 2);
    s.next = state(run, d, (i + 1) % 2);
    s.c = s.update = state(run, d, 2);
    s.reset_h = state(run, d, 3);
    s.y = y == nullptr ? nullptr : y + (t * batch_ * directions_ + d) * hidden_;
    s.y_stride = directions_ * hidden_;
    const Range own = range_of(batch_, row_parts_, part % row_parts_);
    const Range chunks = range_of(functions_.chunks(hidden_), slices_, slice);
    functions_.run(cell_, pass, s, own.begin, own.end, chunks.begin, chunks.end);
  }

  RecurrentFunctions functions_;
  RecurrentCell cell_;
  std::int64_t steps_, batch_, directions_, hidden_;
  std::int64_t line_;  // floats of a state's row
  bool reverse_;
  std::size_t bias_ = 0, lengths_ = 0;  // inputs, 0: there is none
  bool wide_lengths_ = false;
  std::int64_t packed_floats_ = 0;        // of a direction
  std::shared_ptr<const Buffer> packed_;  // null: the weights change
  std::int64_t row_parts_ = 1, slices_ = 1;
};

const char* refuse(const KernelRequest& request) {
  if (request.inputs[0].type.dtype != DType::f32) return refusal::kDType;
  const Shape& gates = request.inputs[0].type.shape;
  if (gates[1] == 0 || gates[2] == 0 || gates[3] == 0) return refusal::kSize;
  return refuse_strided(request);
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache& packs) {
  return std::make_unique<RecurrentKernel>(request, packs);
}

constexpr Implementation kTable[] = {
    {.op = "lstm", .kernel = "fused_cell", .refuse = refuse, .compile = compile},
    {.op = "lstm", .kernel = "fused_cell_widened", .refuse = widened_refusal<refuse>, .compile = widened<compile>},
    {.op = "gru", .kernel = "fused_cell", .refuse = refuse, .compile = compile},
    {.op = "gru", .kernel = "fused_cell_widened", .refuse = widened_refusal<refuse>, .compile = widened<compile>},
};

}  // namespace

std::span<const Implementation> recurrent_implementations() { return kTable; }

}  // namespace ml::cpu
