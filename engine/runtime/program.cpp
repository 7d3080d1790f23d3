#include "engine/runtime/program.h"

#include <algorithm>

#include "engine/passes/passes.h"

namespace ml::runtime {

Program::Program(const Graph& graph, Device& device, std::size_t plans)
    : resources_(device), evaluate_(reference_evaluate()), graph_(passes::simplify(graph, evaluate_)), limit_(plans) {
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
  keep(prepare(shapes));
}

std::shared_ptr<const Plan> Program::prepare(std::span<const Shape> shapes) {
  return make_plan(passes::bind(graph_, shapes, evaluate_), resources_, {evaluate_});
}

void Program::keep(std::shared_ptr<const Plan> plan) {
  plans_.push_back({std::move(plan), ++clock_});
  if (plans_.size() <= limit_) return;
  plans_.erase(std::ranges::min_element(plans_, {}, &Kept::used));
}

}  // namespace ml::runtime
