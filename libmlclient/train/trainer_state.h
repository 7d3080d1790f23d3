// What a Trainer is made of.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "libmlclient/train/device_state.h"
#include "libmlclient/train/step_program.h"
#include "ml/train.h"

namespace ml::train {

// Sums over samples, from which means are taken: they are stored in checkpoints and must come back bit for bit.
struct Totals {
  double loss = 0, hits = 0;
  std::int64_t samples = 0;

  void add(const Metrics& metrics) {
    const auto count = static_cast<double>(metrics.samples);
    loss += metrics.loss * count;
    hits += metrics.accuracy * count;
    samples += metrics.samples;
  }
  Metrics mean() const {
    if (samples == 0) return {};
    const auto count = static_cast<double>(samples);
    return {loss / count, hits / count, samples};
  }
};

struct Trainer::State {
  State(nn::Module& trained, std::unique_ptr<optim::Optimizer> with, TrainerOptions wanted)
      : module(trained),
        optimizer(std::move(with)),
        options(std::move(wanted)),
        device(module, *optimizer, options.seed) {}

  // The program for batches of these types, compiled when it is the first.
  StepProgram& program_for(const data::Batch& batch, bool training);
  // Collects every step that is under way.
  void finish();
  // Lets go of steps that are under way, or went with a device.
  void discard() noexcept;

  nn::Module& module;
  std::unique_ptr<optim::Optimizer> optimizer;
  TrainerOptions options;
  DeviceState device;
  std::map<std::string, std::unique_ptr<StepProgram>> programs;  // by mode and types of the batch
  Totals epoch;                                                  // the epoch under way
};

}  // namespace ml::train
