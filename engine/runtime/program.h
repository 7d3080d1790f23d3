// A loaded graph: what COMPILE makes and EXECUTE names. It owns what all its plans share (constants, packed weights),
// so a new combination of shapes costs a plan and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/runtime/memory_budget.h"
#include "engine/runtime/resources.h"
#include "engine/runtime/staged_plan.h"

namespace ml::runtime {

struct ProgramOptions {
  std::size_t plans = 16;                           // that are kept at most
  std::uint64_t scratch_bytes = ~std::uint64_t{0};  // that each may need
  std::shared_ptr<MemoryBudget> memory = nullptr;   // where packed weights are counted; null: nowhere
  std::shared_ptr<Tuner> tuner = nullptr;           // what chooses kernels; null: the device's table
};

class Program {
 public:
  // `graph` has been verified. When every shape is known, the one plan is made here; otherwise the first execution of
  // each combination of shapes asks for its plan. Throws what making a plan throws.
  Program(
      const Graph& graph, Device& device, const ProgramOptions& options, const Checkpoint& checkpoint = [] {});

  // Of the graph as it was loaded: kUnknown where an extent is symbolic.
  std::span<const TensorType> inputs() const { return inputs_; }
  std::span<const TensorType> outputs() const { return outputs_; }
  std::span<const Donation> donations() const { return graph_.donations(); }
  // Per input, the output that takes its place, or kNotDonated.
  static constexpr std::uint32_t kNotDonated = ~std::uint32_t{0};
  std::uint32_t donated_to(std::size_t input) const { return donated_to_[input]; }
  std::uint32_t donated_from(std::size_t output) const { return donated_from_[output]; }

  // The plan for these shapes, or null; without allocating. `fits(i, shape)` says whether input i has that shape.
  template <class Fits>
  std::shared_ptr<const StagedPlan> find(Fits fits);
  // Makes a plan for these shapes; throws no_space when it needs too much scratch, or its packed weights don't fit the
  // budget. Any thread, beside find() and keep() on another.
  std::shared_ptr<const StagedPlan> prepare(
      std::span<const Shape> shapes, const Checkpoint& checkpoint = [] {});
  // As it was simplified when it was loaded: what every binding starts from.
  const Graph& graph() const { return graph_; }
  // Of the packed weights.
  std::uint64_t device_bytes() const { return resources_.packs().bytes(); }
  // Keeps a plan for find(); the one that was used longest ago goes when there are too many.
  void keep(std::shared_ptr<const StagedPlan> plan);

 private:
  struct Kept {
    std::shared_ptr<const StagedPlan> plan;
    std::uint64_t used;
  };

  ProgramResources resources_;
  passes::Evaluate evaluate_;
  Graph graph_;
  std::vector<TensorType> inputs_, outputs_;
  std::vector<std::uint32_t> donated_to_, donated_from_;
  std::vector<Kept> plans_;
  std::size_t limit_;
  std::uint64_t scratch_limit_;
  std::uint64_t clock_ = 0;
};

template <class Fits>
std::shared_ptr<const StagedPlan> Program::find(Fits fits) {
  for (Kept& kept : plans_) {
    const std::span<const TensorType> types = kept.plan->inputs();
    bool all = true;
    for (std::size_t i = 0; all && i < types.size(); ++i) all = fits(i, types[i].shape);
    if (!all) continue;
    kept.used = ++clock_;
    return kept.plan;
  }
  return nullptr;
}

}  // namespace ml::runtime
