#include <chrono>
#include <deque>

#include "libmlclient/train/progress.h"
#include "libmlclient/train/trainer_state.h"
#include "ml/ops.h"

namespace ml::train {

Loss cross_entropy() {
  return {"cross_entropy", [](const Tensor& output, const Tensor& target) { return ml::cross_entropy(output, target); },
          true, true};
}
Loss mean_squared_error() {
  return {"mean_squared_error", [](const Tensor& output, const Tensor& target) { return ml::mse_loss(output, target); },
          false, false};
}

StepProgram& Trainer::State::program_for(const data::Batch& batch, bool training) {
  if (batch.size() != 2) {
    throw Error(Code::invalid_argument, "Trainer: a batch has " + std::to_string(batch.size()) + " tensors", {},
                "a batch is {inputs, targets}");
  }
  std::string key = training ? "training" : "evaluation";
  std::vector<TensorType> types;
  for (const Tensor& tensor : batch) {
    types.push_back({tensor.dtype(), tensor.shape()});
    key += " " + std::string(dtype_name(tensor.dtype())) + tensor.shape().str();
  }
  std::unique_ptr<StepProgram>& program = programs[key];
  if (!program)
    program = std::make_unique<StepProgram>(StepSource{module, *optimizer, options.loss, device}, types, training);
  return *program;
}

void Trainer::State::finish() {
  for (const auto& [key, program] : programs) {
    while (program && !program->idle()) epoch.add(program->collect());
  }
}

Trainer::Trainer(nn::Module& module, std::unique_ptr<optim::Optimizer> optimizer, TrainerOptions options)
    : state_(std::make_unique<State>(module, std::move(optimizer), std::move(options))) {}

void Trainer::State::discard() noexcept {
  for (const auto& [key, program] : programs) {
    while (program && !program->idle()) {
      try {
        program->collect();
      } catch (const Error&) {
        continue;  // nobody wants its result any more
      }
    }
  }
}

// Steps that are under way read memory that goes away with this.
Trainer::~Trainer() { state_->discard(); }

optim::Optimizer& Trainer::optimizer() { return *state_->optimizer; }
std::int64_t Trainer::steps() const { return state_->optimizer->steps(); }

Metrics Trainer::step(const data::Batch& batch) {
  State& state = *state_;
  state.finish();
  state.device.upload();
  StepProgram& program = state.program_for(batch, true);
  const std::int64_t number = state.optimizer->steps() + 1;
  program.submit(batch, state.optimizer->learning_rate(), number, state.device);
  state.optimizer->set_steps(number);
  return program.collect();
}

Metrics Trainer::evaluate(data::DataLoader& loader) {
  State& state = *state_;
  state.finish();
  state.device.upload();
  loader.rewind();  // an epoch that something broke off would count in part only
  Totals totals;
  std::deque<StepProgram*> under_way;
  const auto collect = [&] {
    totals.add(under_way.front()->collect());
    under_way.pop_front();
  };
  data::Batch batch;
  while (loader.next(batch)) {
    StepProgram& program = state.program_for(batch, false);
    if (under_way.size() == 2) collect();
    program.submit(batch, 0, 0, state.device);
    under_way.push_back(&program);
  }
  while (!under_way.empty()) collect();
  return totals.mean();
}

namespace {

// One run of fit(): the loop, what it reports and when it stores.
class Fit {
 public:
  Fit(Trainer& trainer, Trainer::State& state, data::DataLoader& loader, const FitOptions& options)
      : trainer_(trainer),
        state_(state),
        loader_(loader),
        options_(options),
        progress_(options.progress, options.epochs) {}

  EpochReport run() {
    EpochReport report;
    while (loader_.position().epoch < options_.epochs && !stopped_) report = epoch();
    return report;
  }

 private:
  EpochReport epoch() {
    const auto started = std::chrono::steady_clock::now();
    EpochReport report;
    report.epoch = loader_.position().epoch + 1;
    if (loader_.position().batch == 0) state_.epoch = {};
    state_.device.upload();
    data::Batch batch;
    while (!stopped_ && loader_.next(batch)) {
      submit(batch);
      if (options_.checkpoint_every > 0 && trainer_.steps() % options_.checkpoint_every == 0) store();
    }
    while (!under_way_.empty()) collect();
    report.training = state_.epoch.mean();
    if (stopped_) return report;
    if (options_.validation != nullptr) report.validation = trainer_.evaluate(*options_.validation);
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    progress_.epoch(report, state_.options.loss.counts_hits);
    if (options_.checkpoint_every == 0) store();
    if (options_.on_epoch) options_.on_epoch(report);
    return report;
  }

  void submit(const data::Batch& batch) {
    const std::int64_t before = state_.optimizer->steps();
    if (options_.schedule) state_.optimizer->set_learning_rate(options_.schedule(before));
    StepProgram& program = state_.program_for(batch, true);
    if (under_way_.size() == 2) collect();
    program.submit(batch, state_.optimizer->learning_rate(), before + 1, state_.device);
    state_.optimizer->set_steps(before + 1);
    under_way_.push_back({&program, loader_.position(), before + 1});
  }

  void collect() {
    const UnderWay oldest = under_way_.front();
    under_way_.pop_front();
    state_.epoch.add(oldest.program->collect());
    const Metrics so_far = state_.epoch.mean();
    progress_.step(oldest.position.epoch + 1, oldest.position.batch, loader_.batches(), so_far,
                   state_.options.loss.counts_hits);
    if (options_.on_step && !options_.on_step({oldest.step, so_far})) stopped_ = true;
  }

  void store() {
    while (!under_way_.empty()) collect();
    if (options_.store)
      options_.store();
    else if (!options_.checkpoint.empty())
      trainer_.save_checkpoint(options_.checkpoint, loader_);
  }

  struct UnderWay {
    StepProgram* program;
    data::Position position;
    std::int64_t step;
  };
  Trainer& trainer_;
  Trainer::State& state_;
  data::DataLoader& loader_;
  const FitOptions& options_;
  ProgressReport progress_;
  std::deque<UnderWay> under_way_;
  bool stopped_ = false;
};

}  // namespace

EpochReport Trainer::fit(data::DataLoader& loader, const FitOptions& options) {
  state_->finish();
  return Fit(*this, *state_, loader, options).run();
}

}  // namespace ml::train
