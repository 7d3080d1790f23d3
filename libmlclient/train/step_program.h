// One step of training or evaluation as one program: compiled, its state in device memory.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "libmlclient/session/execution.h"
#include "libmlclient/train/step_trace.h"
#include "ml/train.h"

namespace ml::train {

// A step that may be under way: two of them let the host prepare one while the other runs.
class StepProgram {
 public:
  // `training`: forward, backward and update; otherwise the loss alone, in eval mode. Throws what the module's forward
  // throws, and what the worker says about the program.
  StepProgram(const StepSource& source, const std::vector<TensorType>& batch, bool training);

  // Submits a step on `batch`; learning_rate and step number are inputs of a training program. At most two are under
  // way: call collect() first when full().
  void submit(const data::Batch& batch, double learning_rate, std::int64_t step, DeviceState& state);
  bool idle() const { return submitted_ == collected_; }
  bool full() const { return submitted_ - collected_ == kLanes; }
  // Waits for the oldest step. Throws what went wrong in it.
  Metrics collect();
  const Graph& graph() const { return trace_.graph; }

 private:
  static constexpr std::size_t kLanes = 2;
  struct Lane {
    std::unique_ptr<client::Execution> execution;
    std::vector<std::shared_ptr<client::Storage>> batch;  // alive while it is read
  };
  void make_lanes(const DeviceState& state);

  StepTrace trace_;
  std::int64_t samples_ = 0;
  std::int64_t targets_ = 0;  // elements: a sample may have one per pixel
  bool training_;
  std::vector<Lane> lanes_;
  std::size_t submitted_ = 0, collected_ = 0;
};

}  // namespace ml::train
