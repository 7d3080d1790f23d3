#include "libmlclient/train/step_program.h"

#include <algorithm>
#include <cstring>

#include "libmlclient/tensor/evaluate.h"

namespace ml::train {
namespace {

using Entry = DeviceState::Entry;

// Room for what lies beside the argument table, 64 bytes each.
enum Small : std::size_t { kLearningRate = 0, kStep = 64, kLoss = 128, kHits = 192, kSmallBytes = 256 };

}  // namespace

StepProgram::StepProgram(const StepSource& source, const std::vector<TensorType>& batch, bool training)
    : trace_(trace_step(source, batch, training)),
      samples_(batch[0].shape.rank() > 0 ? batch[0].shape[0] : 1),
      targets_(batch[1].shape.elements()),
      training_(training) {
  make_lanes(source.state);
}

void StepProgram::make_lanes(const DeviceState& state) {
  std::vector<Lane> lanes;
  const auto session = client::SessionCore::current();
  const auto connection = session->connection();
  const std::shared_ptr<client::Program> program = client::compile(session, connection, trace_.graph);
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    auto execution = std::make_unique<client::Execution>(
        session, connection, program, trace_.graph.inputs().size() + trace_.graph.outputs().size(), kSmallBytes);
    std::size_t at = 2;  // the batch is bound by each step
    if (training_) {
      execution->bind_small(at++, MLRING_IN, {DType::f32, {}}, kLearningRate);
      execution->bind_small(at++, MLRING_IN, {DType::i64, {}}, kStep);
    }
    const auto updates = [&](std::size_t i) {
      return std::ranges::find(trace_.state_outputs, i) != trace_.state_outputs.end();
    };
    for (const std::size_t i : trace_.state_inputs) {
      const Entry& entry = state.entries()[i];
      execution->bind(at++, updates(i) ? MLRING_INOUT : MLRING_IN, entry.type, entry.storage);
    }
    execution->bind_small(at++, MLRING_OUT, {DType::f32, {}}, kLoss);
    if (trace_.counts_hits) execution->bind_small(at++, MLRING_OUT, {DType::f32, {}}, kHits);
    for (const std::size_t i : trace_.state_outputs) {
      const Entry& entry = state.entries()[i];
      execution->bind(at++, MLRING_INOUT, entry.type, entry.storage);
    }
    lanes.push_back({std::move(execution), {}});
  }
  lanes_ = std::move(lanes);
}

void StepProgram::submit(const data::Batch& batch, double learning_rate, std::int64_t step, DeviceState& state) {
  if (idle() && (lanes_.empty() || lanes_[0].execution->lost())) make_lanes(state);
  Lane& lane = lanes_[submitted_ % kLanes];
  client::Execution& execution = *lane.execution;
  lane.batch.clear();
  for (std::size_t i = 0; i < 2; ++i) {
    const client::TensorValuePtr& value = client::need(batch[i], "a batch");
    client::materialize(value);
    lane.batch.push_back(client::host_storage(value));
    execution.rebind(i, lane.batch.back(), value->type);
  }
  if (training_) {
    const auto rate = static_cast<float>(learning_rate);
    std::memcpy(execution.small(kLearningRate), &rate, sizeof rate);
    std::memcpy(execution.small(kStep), &step, sizeof step);
  }
  execution.submit_again();
  ++submitted_;
  for (const std::size_t i : trace_.state_outputs) state.updated(i, execution.pending());
}

Metrics StepProgram::collect() {
  Lane& lane = lanes_[collected_++ % kLanes];
  lane.execution->wait();
  float loss = 0, hits = 0;
  std::memcpy(&loss, lane.execution->small(kLoss), sizeof loss);
  if (trace_.counts_hits) std::memcpy(&hits, lane.execution->small(kHits), sizeof hits);
  lane.batch.clear();
  return {loss, targets_ > 0 ? static_cast<double>(hits) / static_cast<double>(targets_) : 0, samples_};
}

}  // namespace ml::train
