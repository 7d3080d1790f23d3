// What a program executes: one plan, or a plan and what follows once values that decide shapes are known.
//
// Everything whose shape is known runs in the first plan. Then the host reads the values behind a fence, binds the rest
// of the graph with them as constants and runs the plan of that, which may have a rest of its own. Rests are kept by
// the values that they were bound with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "engine/passes/passes.h"
#include "engine/runtime/plan.h"

namespace ml::runtime {

// Where outputs go whose types are known only while the execution runs. Called once for each, in any order, before it
// is written; throws too_small when there is no room.
class OutputRoom {
 public:
  virtual ~OutputRoom() = default;
  virtual BufferSpan room_for(std::size_t output, const TensorType& type) = 0;
};

struct StagedPlanOptions {
  passes::Evaluate evaluate;                    // also what rests are bound with later
  Checkpoint checkpoint = [] {};                // while the first plan is made
  std::size_t scratch_bytes = ~std::size_t{0};  // that each plan may need
};

class StagedPlan {
 public:
  // Of the whole graph; extents of outputs may be unknown.
  std::span<const TensorType> inputs() const { return inputs_; }
  std::span<const TensorType> outputs() const { return outputs_; }
  std::span<const Donation> donations() const { return donations_; }
  // Whether the type of every output is known.
  bool known() const { return known_; }
  // Of the first plan, with what it hands over.
  std::size_t scratch_bytes() const { return first_->scratch_bytes() + handed_over_bytes_; }
  const Plan& first() const { return *first_; }
  // How many rests were bound so far.
  std::uint64_t rests_made() const {
    const std::lock_guard lock(mutex_);
    return rests_made_;
  }
  std::string describe() const;

  // As Plan::run; where an output's type is unknown its span is not looked at and `room` (else it may be null) is
  // asked.
  bool run(StreamContext& context, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
           OutputRoom* room = nullptr, Progress* progress = nullptr) const;

 private:
  friend std::shared_ptr<const StagedPlan> make_staged_plan(const Graph& graph, ProgramResources& resources,
                                                            const StagedPlanOptions& options);
  struct Kept {
    std::vector<std::byte> keys;
    std::shared_ptr<const StagedPlan> plan;
    std::uint64_t used;
  };

  bool run_later(StreamContext& context, std::span<const BufferSpan> inputs, std::span<const BufferSpan> handed_over,
                 std::span<const BufferSpan> outputs, OutputRoom* room, Progress* progress) const;
  std::shared_ptr<const StagedPlan> plan_for(const std::vector<std::byte>& keys, Progress* progress) const;
  std::shared_ptr<const StagedPlan> make_later(std::span<const std::byte> keys, Progress* progress) const;

  std::vector<TensorType> inputs_, outputs_;
  std::vector<Donation> donations_;
  bool known_ = true;
  std::unique_ptr<const Plan> first_;

  // Only where there is a rest.
  ProgramResources* resources_ = nullptr;
  passes::Evaluate evaluate_;
  std::size_t scratch_limit_ = 0;
  std::unique_ptr<const passes::Stages> stages_;
  std::size_t handed_over_bytes_ = 0;
  mutable std::mutex mutex_;
  mutable std::vector<Kept> kept_;
  mutable std::uint64_t clock_ = 0;
  mutable std::uint64_t rests_made_ = 0;
};

// The plan of `graph`, whose inputs are bound, on the device of `resources`, which must outlive it. Throws what
// make_plan throws, and no_space when it needs too much scratch.
std::shared_ptr<const StagedPlan> make_staged_plan(const Graph& graph, ProgramResources& resources,
                                                   const StagedPlanOptions& options);

}  // namespace ml::runtime
