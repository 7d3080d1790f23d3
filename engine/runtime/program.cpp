#include "engine/runtime/program.h"

#include <algorithm>
#include <string>

#include "engine/passes/passes.h"
#include "ml/error.h"

namespace ml::runtime {

namespace {

// Folding is what takes longest in passes.
passes::Evaluate checked(const passes::Evaluate& evaluate, const Checkpoint& checkpoint) {
  return [&evaluate, &checkpoint](const Graph& graph, const Node& node, std::span<const ConstantPtr> inputs) {
    checkpoint();
    return evaluate(graph, node, inputs);
  };
}

}  // namespace

Program::Program(const Graph& graph, Device& device, const ProgramOptions& options, const Checkpoint& checkpoint)
    : resources_(device),
      evaluate_(reference_evaluate()),
      memory_(options.memory, MemoryBudget::Purpose::programs),
      graph_(passes::simplify(graph, checked(evaluate_, checkpoint))),
      limit_(options.plans),
      scratch_limit_(options.scratch_bytes) {
  for (const GraphInput& input : graph_.inputs()) inputs_.push_back(graph_.type(input.value));
  for (const GraphOutput& output : graph_.outputs()) outputs_.push_back(graph_.type(output.value));
  donated_to_.assign(inputs_.size(), kNotDonated);
  donated_from_.assign(outputs_.size(), kNotDonated);
  for (const Donation& donation : graph_.donations()) {
    donated_to_[donation.input] = donation.output;
    donated_from_[donation.output] = donation.input;
  }
  plans_.reserve(limit_ + 1);
  const bool known = std::ranges::all_of(inputs_, [](const TensorType& type) { return type.shape.known(); });
  if (!known) return;
  std::vector<Shape> shapes;
  for (const TensorType& type : inputs_) shapes.push_back(type.shape);
  keep(prepare(shapes, checkpoint));
}

std::shared_ptr<const Plan> Program::prepare(std::span<const Shape> shapes, const Checkpoint& checkpoint) {
  checkpoint();
  const passes::Evaluate evaluate = checked(evaluate_, checkpoint);
  std::shared_ptr<const Plan> plan =
      make_plan(passes::bind(graph_, shapes, evaluate), resources_, {evaluate, checkpoint});
  if (plan->scratch_bytes() > scratch_limit_) {
    throw Error(Code::no_space,
                "its intermediate values need " + std::to_string(plan->scratch_bytes()) + " bytes, " +
                    std::to_string(scratch_limit_) + " are allowed",
                {}, "take smaller shapes, a smaller batch for example");
  }
  // What was packed stays with the program, whoever has asked for it.
  const std::lock_guard lock(memory_mutex_);
  memory_.grow_to(device_bytes());
  return plan;
}

void Program::keep(std::shared_ptr<const Plan> plan) {
  plans_.push_back({std::move(plan), ++clock_});
  if (plans_.size() <= limit_) return;
  plans_.erase(std::ranges::min_element(plans_, {}, &Kept::used));
}

}  // namespace ml::runtime
