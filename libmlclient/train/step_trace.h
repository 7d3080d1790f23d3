// One step of training or evaluation as a graph, traced from the module, the loss and the optimizer.
#pragma once

#include <cstddef>
#include <vector>

#include "libmlclient/train/device_state.h"
#include "ml/train.h"

namespace ml::train {

// What the program of one batch shape is made from.
struct StepSource {
  nn::Module& module;
  const optim::Optimizer& optimizer;
  const Loss& loss;
  const DeviceState& state;
};

struct StepTrace {
  Graph graph;
  std::vector<std::size_t> state_inputs;   // of each state that the graph has as an input: its index
  std::vector<std::size_t> state_outputs;  // of each one that it updates
  bool counts_hits = false;                // its second output are hits
};
// `training`: forward, backward and update; otherwise the loss alone, in eval mode. Throws what the module's forward
// throws.
StepTrace trace_step(const StepSource& source, const std::vector<TensorType>& batch, bool training);

}  // namespace ml::train
