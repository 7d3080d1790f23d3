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
    : resources_(device, options.memory, options.tuner),
      evaluate_(reference_evaluate()),
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

std::shared_ptr<const StagedPlan> Program::prepare(std::span<const Shape> shapes, const Checkpoint& checkpoint) {
  checkpoint();
  const Graph bound = passes::bind(graph_, shapes, checked(evaluate_, checkpoint));
  std::shared_ptr<const StagedPlan> plan = make_staged_plan(bound, resources_, {evaluate_, checkpoint, scratch_limit_});
  resources_.drop_unused();
  resources_.charge_packs();  // what was packed stays with the program, whoever has asked for it
  return plan;
}

void Program::keep(std::shared_ptr<const StagedPlan> plan) {
  plans_.push_back({std::move(plan), ++clock_});
  if (plans_.size() <= limit_) return;
  plans_.erase(std::ranges::min_element(plans_, {}, &Kept::used));
}

}  // namespace ml::runtime
