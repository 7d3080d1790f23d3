// Training: the whole step (forward, backward, update) is compiled to one program whose state stays on the device.
//
//   ml::train::Trainer trainer(net, ml::optim::SGD(net.parameters(), {.learning_rate = 0.05, .momentum = 0.9}));
//   trainer.fit(train_loader, {.epochs = 5, .validation = &validation_loader});
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ml/data.h"
#include "ml/nn.h"
#include "ml/optim.h"

namespace ml::train {

// A loss of a model's output and the targets, rank 0. Cross-entropy wants logits: a model that ends in Softmax is asked
// for what goes into it.
struct Loss {
  std::string name;
  std::function<Tensor(const Tensor& output, const Tensor& target)> function;
  bool wants_logits = false;
  bool counts_hits = false;  // report accuracy: argmax of the last-but-batch axis against class indices
};
ML_API Loss cross_entropy();  // targets: i32 or i64 class indices [N]
ML_API Loss mean_squared_error();

struct Metrics {
  double loss = 0;      // mean over samples
  double accuracy = 0;  // share of hits; 0 when the loss does not count them
  std::int64_t samples = 0;
};

struct EpochReport {
  std::int64_t epoch = 0;  // from 1
  Metrics training;
  Metrics validation;  // samples = 0 when there is no validation loader
  double seconds = 0;
};
struct StepReport {
  std::int64_t step = 0;  // of all epochs, from 1
  Metrics epoch_so_far;
};

enum class Progress {
  automatic,  // a bar when stderr is a terminal, otherwise a line per epoch
  lines,      // a line per epoch
  none,
};

struct FitOptions {
  std::int64_t epochs = 1;  // in all: a resumed run stops at the same epoch as one that was not interrupted
  data::DataLoader* validation = nullptr;
  optim::Schedule schedule;  // learning rate by step; empty: the optimizer's
  Progress progress = Progress::automatic;
  std::function<void(const EpochReport&)> on_epoch;
  // After every step; answering false ends training. Metrics lag one step behind, so that steps can overlap.
  std::function<bool(const StepReport&)> on_step;
  std::string checkpoint;             // path; empty: none
  std::int64_t checkpoint_every = 0;  // steps; 0: after each epoch
  // Instead of writing `checkpoint`: called at the same times, with no step under way.
  std::function<void()> store;
};

struct TrainerOptions {
  Loss loss = cross_entropy();
  std::uint64_t seed = 0;  // of dropout
};

// Bytes of device memory that a run needs.
struct MemoryEstimate {
  std::uint64_t parameters = 0;
  std::uint64_t optimizer = 0;
  std::uint64_t buffers = 0;  // running statistics, random state
  std::uint64_t scratch = 0;  // activations, gradients and what kernels need beside them, of the largest step
  std::uint64_t weights = 0;  // constants of the programs, and what kernels pack of them
  std::uint64_t batch = 0;    // two batches: one is read while the other is made
  std::uint64_t total = 0;
};

// Takes over the module's parameters and buffers while it lives: their tensors are then device memory that each step
// updates in place. Tensors taken from the module before a step throw when they are read after it; take them again.
class ML_API Trainer {
 public:
  // `module` must outlive it; the optimizer must be one of the module's parameters.
  template <class Optimizer>
  Trainer(nn::Module& module, Optimizer optimizer, TrainerOptions options = {})
      : Trainer(module, std::unique_ptr<optim::Optimizer>(std::make_unique<Optimizer>(std::move(optimizer))),
                std::move(options)) {}
  Trainer(nn::Module& module, std::unique_ptr<optim::Optimizer> optimizer, TrainerOptions options);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // Trains until options.epochs epochs are done, from where the trainer and the loader are. A program is compiled for
  // each shape of batch. Answers the last epoch.
  EpochReport fit(data::DataLoader& loader, const FitOptions& options = {});
  // One step on one batch {inputs, targets}, waiting for it. A step that throws out_of_range (a label that is no class)
  // has updated the state all the same, and reading that state throws until the next step: go on from a checkpoint.
  Metrics step(const data::Batch& batch);
  // What fit() with these loaders (validation may be null) needs of a device ("cpu", "reference"; `threads` as in
  // SessionOptions), from the plans of its steps: nothing is executed. Throws what the module's forward throws when the
  // data does not fit it.
  MemoryEstimate estimate(const data::DataLoader& loader, const data::DataLoader* validation, const std::string& device,
                          int threads = 0);
  // Loss and accuracy over one epoch of `loader`, in eval mode, without updating anything.
  Metrics evaluate(data::DataLoader& loader);

  optim::Optimizer& optimizer();
  std::int64_t steps() const;  // taken so far

  // Everything that the rest of the run depends on, in a safetensors file: parameters, buffers, optimizer state, random
  // state, the loader's position, metrics so far. Written beside `path`, synced and renamed: a crash or a full disk
  // leaves the old file whole. Throws io or no_space.
  void save_checkpoint(const std::string& path, const data::DataLoader& loader);
  // Goes on as if training had never stopped, also after the device was lost and everything else here throws
  // device_lost. True: with the same bits; false: this session's fingerprint() is not the one it was written under, so
  // results may differ in their last bits. Throws corrupt for a damaged file and invalid_argument when it is of another
  // model, optimizer or data set; the trainer is then as it was.
  bool load_checkpoint(const std::string& path, data::DataLoader& loader);

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace ml::train
