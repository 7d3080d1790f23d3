#include "engine/runtime/staged_plan.h"

#include <algorithm>

#include "engine/runtime/memory_planner.h"
#include "ml/error.h"

namespace ml::runtime {
namespace {

constexpr std::size_t kKept = 16;            // rests of one plan
constexpr std::size_t kMostStages = 256;     // below each other: each is a frame of the executor's stack
constexpr std::size_t kMostKeyBytes = 4096;  // that decide shapes: a few extents each

std::size_t bytes_of(const TensorType& type) {
  return static_cast<std::size_t>(type.shape.elements()) * dtype_size(type.dtype);
}

// Folding is what takes longest in passes. What is given must outlive what is answered.
passes::Evaluate checked(const passes::Evaluate& evaluate, const Checkpoint& checkpoint) {
  if (!evaluate) return {};
  return [&evaluate, &checkpoint](const Graph& graph, const Node& node, std::span<const ConstantPtr> inputs) {
    checkpoint();
    return evaluate(graph, node, inputs);
  };
}

// The rest's outputs, told to whoever waits for those of the whole.
class Renumbered final : public OutputRoom {
 public:
  Renumbered(OutputRoom& room, std::span<const std::uint32_t> numbers) : room_(room), numbers_(numbers) {}
  BufferSpan room_for(std::size_t output, const TensorType& type) override {
    return room_.room_for(numbers_[output], type);
  }

 private:
  OutputRoom& room_;
  std::span<const std::uint32_t> numbers_;
};

}  // namespace

std::string StagedPlan::describe() const {
  std::string text = first_->describe();
  if (stages_) {
    text += "then, by " + std::to_string(stages_->keys.size()) +
            " values: " + std::to_string(stages_->later.nodes().size()) + " nodes\n";
  }
  return text;
}

bool StagedPlan::run(StreamContext& context, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
                     OutputRoom* room, Progress* progress) const {
  if (!stages_) {
    return first_->run(context, inputs, outputs, progress);
  }
  std::vector<BufferSpan> results;
  for (const std::uint32_t output : stages_->now_outputs) results.push_back(outputs[output]);
  const BufferSpan memory = context.handed_over(handed_over_bytes_);
  std::size_t at = 0;
  for (const TensorType& type : first_->outputs().subspan(results.size())) {
    results.push_back({memory.buffer, memory.offset + at, bytes_of(type)});
    at += align_memory(bytes_of(type));
  }
  return first_->run(context, inputs, results, progress) &&
         run_later(context, inputs, results, outputs, room, progress);
}

bool StagedPlan::run_later(StreamContext& context, std::span<const BufferSpan> inputs,
                           std::span<const BufferSpan> results, std::span<const BufferSpan> outputs, OutputRoom* room,
                           Progress* progress) const {
  std::vector<BufferSpan> in;
  for (std::size_t i = 0; i < stages_->later_inputs.size(); ++i) {
    const auto& [is_input, index] = stages_->later_inputs[i];
    BufferSpan span = is_input ? inputs[index] : results[index];
    span.size = bytes_of(stages_->later.type(stages_->later.inputs()[i].value));
    in.push_back(span);
  }
  std::size_t key_bytes = 0;
  for (const std::uint32_t key : stages_->keys) key_bytes += in[key].size;
  std::vector<std::byte> keys(key_bytes);
  key_bytes = 0;
  for (const std::uint32_t key : stages_->keys) {
    if (in[key].size != 0) context.stream().download(keys.data() + key_bytes, in[key]);
    key_bytes += in[key].size;
  }
  context.synchronize();
  if (progress != nullptr && progress->stopped()) return false;
  const std::shared_ptr<const StagedPlan> plan = plan_for(keys, progress);

  const StreamContext::Level level(context);
  if (level.depth() > kMostStages) {
    throw Error(Code::unsupported, "values decide shapes more than " + std::to_string(kMostStages) + " times in a row");
  }
  std::vector<BufferSpan> out;
  for (std::size_t i = 0; i < stages_->later_outputs.size(); ++i) {
    const std::uint32_t output = stages_->later_outputs[i];
    const TensorType& type = plan->outputs()[i];
    const bool told = !outputs_[output].shape.known() && type.shape.known();
    out.push_back(told ? room->room_for(output, type) : outputs[output]);
  }
  if (room == nullptr) return plan->run(context, in, out, nullptr, progress);
  Renumbered renumbered(*room, stages_->later_outputs);
  return plan->run(context, in, out, &renumbered, progress);
}

std::shared_ptr<const StagedPlan> StagedPlan::plan_for(const std::vector<std::byte>& keys, Progress* progress) const {
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(kept_, keys, &Kept::keys);
    if (found != kept_.end()) {
      found->used = ++clock_;
      return found->plan;
    }
  }
  std::shared_ptr<const StagedPlan> plan = make_later(keys, progress);
  const std::lock_guard lock(mutex_);
  ++rests_made_;
  kept_.push_back({keys, plan, ++clock_});
  if (kept_.size() > kKept) kept_.erase(std::ranges::min_element(kept_, {}, &Kept::used));
  return plan;
}

std::shared_ptr<const StagedPlan> StagedPlan::make_later(std::span<const std::byte> keys, Progress* progress) const {
  const Graph& later = stages_->later;
  std::vector<Shape> shapes;
  for (const GraphInput& input : later.inputs()) shapes.push_back(later.type(input.value).shape);
  std::vector<ConstantPtr> known(shapes.size());
  for (const std::uint32_t key : stages_->keys) {
    const TensorType& type = later.type(later.inputs()[key].value);
    known[key] = make_constant(type.dtype, type.shape, keys.first(bytes_of(type)));
    keys = keys.subspan(bytes_of(type));
  }
  const Checkpoint checkpoint = [progress] {
    if (progress != nullptr && progress->stopped()) throw Error(Code::cancelled, "stopped");
  };
  const passes::Evaluate evaluate = checked(evaluate_, checkpoint);
  const Graph bound = passes::simplify(passes::bind(later, shapes, evaluate, known), evaluate);
  std::shared_ptr<const StagedPlan> plan =
      make_staged_plan(bound, *resources_, {evaluate_, checkpoint, scratch_limit_});
  resources_->charge_packs();
  return plan;
}

std::shared_ptr<const StagedPlan> make_staged_plan(const Graph& graph, ProgramResources& resources,
                                                   const StagedPlanOptions& options) {
  const auto plan = std::make_shared<StagedPlan>();
  for (const GraphInput& input : graph.inputs()) plan->inputs_.push_back(graph.type(input.value));
  for (const GraphOutput& output : graph.outputs()) plan->outputs_.push_back(graph.type(output.value));
  plan->donations_.assign(graph.donations().begin(), graph.donations().end());
  plan->known_ = std::ranges::all_of(plan->outputs_, [](const TensorType& type) { return type.shape.known(); });
  const PlanOptions first{checked(options.evaluate, options.checkpoint), options.checkpoint};
  if (graph.bound()) {
    plan->first_ = make_plan(graph, resources, first);
  } else {
    auto stages = std::make_unique<passes::Stages>(passes::split(graph));
    std::size_t key_bytes = 0;
    for (const std::uint32_t key : stages->keys)
      key_bytes += bytes_of(stages->later.type(stages->later.inputs()[key].value));
    if (key_bytes > kMostKeyBytes) {
      throw Error(Code::unsupported, std::to_string(key_bytes) + " bytes of values decide shapes, at most " +
                                         std::to_string(kMostKeyBytes) + " are possible");
    }
    plan->first_ = make_plan(stages->now, resources, first);
    for (const TensorType& type : plan->first_->outputs().subspan(stages->now_outputs.size()))
      plan->handed_over_bytes_ += align_memory(bytes_of(type));
    plan->resources_ = &resources;
    plan->evaluate_ = options.evaluate;
    plan->scratch_limit_ = options.scratch_bytes;
    plan->stages_ = std::move(stages);
  }
  if (plan->scratch_bytes() > options.scratch_bytes) {
    throw Error(Code::no_space,
                "its intermediate values need " + std::to_string(plan->scratch_bytes()) + " bytes, " +
                    std::to_string(options.scratch_bytes) + " are allowed",
                {}, "take smaller shapes, a smaller batch for example");
  }
  return plan;
}

}  // namespace ml::runtime
