// Control flow as steps of a plan: each holds the plans of its bodies and runs them with values in places of its own.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/runtime/plan.h"

namespace ml::runtime {

// What a control step runs with: its operands' memory and the part of the arena that is its own.
struct ControlFrame {
  StreamContext& context;
  std::span<const BufferSpan> inputs;
  std::span<const BufferSpan> outputs;
  BufferSpan scratch;
  Progress* progress;
};

class ControlStep {
 public:
  virtual ~ControlStep() = default;
  // Inputs and outputs don't overlap. False: stopped.
  virtual bool run(const ControlFrame& frame) const = 0;
  virtual std::size_t scratch_bytes() const = 0;
  // The bodies, with their names.
  virtual std::vector<std::pair<std::string, const Plan*>> bodies() const = 0;

  std::uint32_t first_place = 0;  // in the plan's places: inputs, then outputs
  std::uint32_t inputs = 0;
  std::uint32_t outputs = 0;
  Place scratch;
  bool commits = false;

 protected:
  static bool run_body(const Plan& plan, StreamContext& context, std::span<const BufferSpan> in,
                       std::span<const BufferSpan> out, BufferSpan at, Progress* progress) {
    return plan.run_in(context, in, out, at, progress);
  }
};

// The step of an if, while or scan node whose operand types are known.
std::unique_ptr<ControlStep> make_control_step(const Graph& graph, const Node& node, ProgramResources& resources,
                                               const PlanOptions& options);

}  // namespace ml::runtime
