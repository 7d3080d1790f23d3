#include "engine/runtime/control.h"

#include <algorithm>

#include "engine/graph/ops/control.h"
#include "engine/runtime/memory_planner.h"
#include "ml/error.h"

namespace ml::runtime {
namespace {

std::size_t bytes_of(const TensorType& type) {
  return static_cast<std::size_t>(type.shape.elements()) * dtype_size(type.dtype);
}

// Consecutive places in a run of memory.
class Cursor {
 public:
  explicit Cursor(BufferSpan memory) : memory_(memory) {}
  BufferSpan take(std::size_t bytes) {
    const BufferSpan part{memory_.buffer, memory_.offset + at_, bytes};
    at_ += align_memory(bytes);
    return part;
  }

 private:
  BufferSpan memory_;
  std::size_t at_ = 0;
};

// The host's look at a device's bool: everything before it has run when this answers.
bool read_condition(StreamContext& context, BufferSpan value) {
  unsigned char flag = 0;
  context.stream().download(&flag, {value.buffer, value.offset, 1});
  context.synchronize();
  return flag != 0;
}

void copy(StreamContext& context, BufferSpan to, BufferSpan from) {
  if (to.size != 0) context.stream().copy(to, from);
}

class IfStep final : public ControlStep {
 public:
  IfStep(const IfAttributes& attributes, ProgramResources& resources, const PlanOptions& options)
      : then_(make_plan(*attributes.then_body, resources, options)),
        else_(make_plan(*attributes.else_body, resources, options)) {}

  bool run(const ControlFrame& frame) const override {
    const Plan& body = read_condition(frame.context, frame.inputs[0]) ? *then_ : *else_;
    return run_body(body, frame.context, frame.inputs.subspan(1), frame.outputs, frame.scratch, frame.progress);
  }
  std::size_t scratch_bytes() const override { return std::max(then_->scratch_bytes(), else_->scratch_bytes()); }
  std::vector<std::pair<std::string, const Plan*>> bodies() const override {
    return {{"then", then_.get()}, {"else", else_.get()}};
  }

 private:
  std::unique_ptr<const Plan> then_, else_;
};

// Loops keep what they carry in two places by turns: the node's outputs and temporaries of the same sizes. Turn 0 reads
// the node's inputs where they are.
class Carried {
 public:
  Carried(std::span<const BufferSpan> initial, std::span<const BufferSpan> outputs, Cursor& cursor)
      : now_(initial.begin(), initial.end()), outputs_(outputs.begin(), outputs.end()) {
    for (const BufferSpan& output : outputs) other_.push_back(cursor.take(output.size));
    next_ = outputs_;
  }

  std::span<const BufferSpan> now() const { return now_; }
  std::span<const BufferSpan> next() const { return next_; }
  void turn() {
    now_ = next_;
    in_outputs_ = !in_outputs_;
    next_ = in_outputs_ ? other_ : outputs_;
  }
  // Puts the final values into the outputs.
  void finish(StreamContext& context) const {
    if (in_outputs_) return;
    for (std::size_t i = 0; i < outputs_.size(); ++i) copy(context, outputs_[i], now_[i]);
  }
  static std::size_t bytes(const Plan& body, std::size_t count) {
    std::size_t total = 0;
    for (std::size_t i = 0; i < count; ++i) total += align_memory(bytes_of(body.outputs()[i]));
    return total;
  }

 private:
  std::vector<BufferSpan> now_, next_, outputs_, other_;
  bool in_outputs_ = false;
};

class WhileStep final : public ControlStep {
 public:
  WhileStep(const WhileAttributes& attributes, ProgramResources& resources, const PlanOptions& options)
      : condition_(make_plan(*attributes.condition, resources, options)),
        body_(make_plan(*attributes.body, resources, options)),
        carried_(static_cast<std::size_t>(attributes.carried)) {}

  bool run(const ControlFrame& frame) const override {
    Cursor cursor(frame.scratch);
    const BufferSpan flag = cursor.take(1);
    Carried carried(frame.inputs.first(carried_), frame.outputs, cursor);
    const BufferSpan rest = cursor.take(std::max(condition_->scratch_bytes(), body_->scratch_bytes()));
    std::vector<BufferSpan> arguments(frame.inputs.begin(), frame.inputs.end());
    for (;;) {
      std::ranges::copy(carried.now(), arguments.begin());
      if (!run_body(*condition_, frame.context, arguments, {&flag, 1}, rest, frame.progress)) return false;
      if (!read_condition(frame.context, flag)) break;
      if (!run_body(*body_, frame.context, arguments, carried.next(), rest, frame.progress)) return false;
      carried.turn();
    }
    carried.finish(frame.context);
    return true;
  }
  std::size_t scratch_bytes() const override {
    return align_memory(1) + Carried::bytes(*body_, carried_) +
           std::max(condition_->scratch_bytes(), body_->scratch_bytes());
  }
  std::vector<std::pair<std::string, const Plan*>> bodies() const override {
    return {{"condition", condition_.get()}, {"body", body_.get()}};
  }

 private:
  std::unique_ptr<const Plan> condition_, body_;
  std::size_t carried_;
};

class ScanStep final : public ControlStep {
 public:
  ScanStep(const ScanAttributes& attributes, std::int64_t turns, ProgramResources& resources,
           const PlanOptions& options)
      : body_(make_plan(*attributes.body, resources, options)),
        carried_(static_cast<std::size_t>(attributes.carried)),
        scanned_(static_cast<std::size_t>(attributes.scanned)),
        turns_(turns),
        reverse_(attributes.reverse) {}

  bool run(const ControlFrame& frame) const override {
    Cursor cursor(frame.scratch);
    Carried carried(frame.inputs.first(carried_), frame.outputs.first(carried_), cursor);
    const BufferSpan rest = cursor.take(body_->scratch_bytes());
    std::vector<BufferSpan> arguments(frame.inputs.begin(), frame.inputs.end());
    std::vector<BufferSpan> results(frame.outputs.begin(), frame.outputs.end());
    for (std::int64_t turn = 0; turn < turns_; ++turn) {
      const auto slice = static_cast<std::size_t>(reverse_ ? turns_ - 1 - turn : turn);
      std::ranges::copy(carried.now(), arguments.begin());
      std::ranges::copy(carried.next(), results.begin());
      for (std::size_t i = carried_; i < carried_ + scanned_; ++i)
        arguments[i] = slice_of(frame.inputs[i], bytes_of(body_->inputs()[i]), slice);
      for (std::size_t i = carried_; i < results.size(); ++i)
        results[i] = slice_of(frame.outputs[i], bytes_of(body_->outputs()[i]), slice);
      if (!run_body(*body_, frame.context, arguments, results, rest, frame.progress)) return false;
      carried.turn();
    }
    carried.finish(frame.context);
    return true;
  }
  std::size_t scratch_bytes() const override { return Carried::bytes(*body_, carried_) + body_->scratch_bytes(); }
  std::vector<std::pair<std::string, const Plan*>> bodies() const override { return {{"body", body_.get()}}; }

 private:
  static BufferSpan slice_of(BufferSpan whole, std::size_t bytes, std::size_t index) {
    return {whole.buffer, whole.offset + index * bytes, bytes};
  }

  std::unique_ptr<const Plan> body_;
  std::size_t carried_, scanned_;
  std::int64_t turns_;
  bool reverse_;
};

}  // namespace

std::unique_ptr<ControlStep> make_control_step(const Graph& graph, const Node& node, ProgramResources& resources,
                                               const PlanOptions& options) {
  if (const auto* branch = dynamic_cast<const IfAttributes*>(node.attributes.get()))
    return std::make_unique<IfStep>(*branch, resources, options);
  if (const auto* loop = dynamic_cast<const WhileAttributes*>(node.attributes.get()))
    return std::make_unique<WhileStep>(*loop, resources, options);
  if (const auto* scan = dynamic_cast<const ScanAttributes*>(node.attributes.get())) {
    const std::int64_t turns =
        scan->scanned > 0 ? graph.type(node.inputs[static_cast<std::size_t>(scan->carried)]).shape[0] : scan->length;
    return std::make_unique<ScanStep>(*scan, turns, resources, options);
  }
  throw Error(Code::internal, std::string(node.op->name) + ": a control op that plans don't know");
}

}  // namespace ml::runtime
