#include "daemon/job/run.h"

#include <chrono>
#include <cstdarg>
#include <cstdio>

#include "daemon/job/checkpoint_files.h"
#include "daemon/job/network.h"
#include "ml/model.h"
#include "ml/session.h"

namespace ml::job {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLockPatienceMs = 10'000;            // for a process of this job that is about to end
constexpr std::chrono::milliseconds kReport{200};  // between two reports to mld
constexpr std::chrono::seconds kLine{5};           // between two lines about steps in the log

[[gnu::format(printf, 1, 2)]] void say(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::putchar('\n');
  std::fflush(stdout);
}

long long number(std::int64_t value) { return value; }

class Run {
 public:
  Run(const JobFile& job, Control& control, bool managed)
      : job_(job),
        control_(control),
        managed_(managed),
        files_(job.train.checkpoint, kLockPatienceMs),
        training_(open_training_data(job, {}), loader_options(job, true)),
        network_(job),
        trainer_(network_, optimizer_of(job, network_), {.loss = loss_of(job), .seed = job.seed}) {
    if (const auto set = open_validation_data(job, {})) validation_.emplace(set, loader_options(job, false));
    steps_ = training_.batches() * job.train.epochs;
  }

  Outcome run() {
    say("%s: %lld samples, %lld steps in %lld epochs, %lld parameters, on %s (%s)", job_.name.c_str(),
        number(training_.size()), number(steps_), number(job_.train.epochs), number(network_.parameter_count()),
        default_session().device().c_str(), default_session().fingerprint().c_str());
    resume();
    if (!trained()) train();
    if (!trained()) {
      write_checkpoint();
      say("stopped at step %lld of %lld; the checkpoint is written", number(trainer_.steps()), number(steps_));
      return Outcome::gave_way;
    }
    report(last_, true);
    if (job_.train.keep_checkpoint && checkpoint_step_ != trainer_.steps()) write_checkpoint();
    keep_result();
    if (!job_.train.keep_checkpoint) files_.remove();
    return Outcome::done;
  }

 private:
  bool trained() const { return training_.position().epoch >= job_.train.epochs; }

  void resume() {
    if (!files_.exists()) return;
    bool same_bits = false;
    std::string from = files_.path();
    try {
      same_bits = trainer_.load_checkpoint(from, training_);
    } catch (const Error& error) {
      if (error.code() != Code::corrupt || !files_.previous_exists()) throw;
      say("warning: %s", one_line(error).c_str());
      from = files_.previous();
      same_bits = trainer_.load_checkpoint(from, training_);
    }
    checkpoint_step_ = trainer_.steps();
    say("goes on from step %lld of '%s'%s", number(trainer_.steps()), from.c_str(),
        same_bits ? "" : "; it was written on another device or version, so results may differ in their last bits");
  }

  void train() {
    train::FitOptions options;
    options.epochs = job_.train.epochs;
    options.validation = validation_ ? &*validation_ : nullptr;
    options.schedule = schedule_of(job_, steps_);
    options.progress = train::Progress::none;
    options.checkpoint_every = job_.train.checkpoint_every;
    options.store = [this] { try_checkpoint(); };
    options.on_epoch = [this](const train::EpochReport& epoch) { tell(epoch); };
    options.on_step = [this](const train::StepReport& step) {
      last_ = step;
      report(step, false);
      return !control_.stop();
    };
    trainer_.fit(training_, options);
  }

  // Throws io or no_space; what was there before is then still there.
  void write_checkpoint() {
    files_.write([this](const std::string& path) { trainer_.save_checkpoint(path, training_); });
    checkpoint_step_ = trainer_.steps();
    report(last_, true);
  }

  // A disk that is full now may have room later: training need not end for it.
  void try_checkpoint() {
    try {
      write_checkpoint();
    } catch (const Error& error) {
      if (error.code() != Code::io && error.code() != Code::no_space) throw;
      say("warning: no checkpoint at step %lld, the last one is of step %lld: %s", number(trainer_.steps()),
          number(checkpoint_step_), one_line(error).c_str());
    }
  }

  void report(const train::StepReport& step, bool now) {
    const Clock::time_point time = Clock::now();
    if (time - line_at_ >= kLine && !now) {
      line_at_ = time;
      say("step %lld/%lld  loss %.4f%s", number(step.step), number(steps_), step.epoch_so_far.loss,
          accuracy(step.epoch_so_far).c_str());
    }
    if (!now && time - reported_at_ < kReport) return;
    reported_at_ = time;
    daemon::job_protocol::Progress progress{};
    progress.step = static_cast<std::uint64_t>(trainer_.steps());
    progress.steps = static_cast<std::uint64_t>(steps_);
    progress.epoch = static_cast<std::uint64_t>(std::min(training_.position().epoch + 1, job_.train.epochs));
    progress.epochs = static_cast<std::uint64_t>(job_.train.epochs);
    progress.loss = step.epoch_so_far.loss;
    progress.accuracy = step.epoch_so_far.accuracy;
    progress.checkpoint_step = static_cast<std::uint64_t>(checkpoint_step_);
    control_.progress(progress);
  }

  static std::string accuracy(const train::Metrics& metrics, const char* before = "  accuracy ") {
    if (metrics.accuracy == 0) return {};
    char text[64];
    std::snprintf(text, sizeof text, "%s%.4f", before, metrics.accuracy);
    return text;
  }

  void tell(const train::EpochReport& epoch) {
    std::string validation;
    if (epoch.validation.samples > 0) {
      char text[64];
      std::snprintf(text, sizeof text, "  validation loss %.4f", epoch.validation.loss);
      validation = text + accuracy(epoch.validation);
    }
    say("epoch %lld/%lld  loss %.4f%s%s  %.1f s", number(epoch.epoch), number(job_.train.epochs), epoch.training.loss,
        accuracy(epoch.training).c_str(), validation.c_str(), epoch.seconds);
  }

  void keep_result() {
    const data::Field& field = training_.dataset().fields()[0];
    Shape shape{-1};
    for (const std::int64_t extent : field.shape.dims()) shape.append(extent);
    const Model model = Model::trace(network_, {{field.name, field.dtype, shape}});
    if (!job_.output.empty()) {
      remove_left_behind(job_.output);
      model.save(job_.output);
      say("saved '%s'", job_.output.c_str());
    }
    if (job_.model.empty()) return;
    if (managed_) {
      const std::uint64_t version = model.publish(job_.model, job_.shared);
      say("registered as model '%s' version %llu", job_.model.c_str(), static_cast<unsigned long long>(version));
    } else {
      say("not registered as model '%s': there is no mld in an embedded run", job_.model.c_str());
    }
  }

  const JobFile& job_;
  Control& control_;
  const bool managed_;
  CheckpointFiles files_;
  data::DataLoader training_;
  std::optional<data::DataLoader> validation_;
  Network network_;
  train::Trainer trainer_;
  std::int64_t steps_ = 0, checkpoint_step_ = 0;
  train::StepReport last_;
  Clock::time_point reported_at_{}, line_at_ = Clock::now();
};

}  // namespace

Outcome run_job(const JobFile& job, Control& control, bool managed) {
  if (!managed && job.output.empty()) {
    throw Error(Code::invalid_argument, job.file + " names no `output`, and an embedded run registers no model", {},
                "add output = \"NAME.mlmodel\"");
  }
  return Run(job, control, managed).run();
}

std::string one_line(const Error& error) {
  std::string text = error.message();
  if (!error.context().empty()) text += " (" + error.context() + ")";
  if (!error.hint().empty()) text += "; " + error.hint();
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  return text;
}

}  // namespace ml::job
