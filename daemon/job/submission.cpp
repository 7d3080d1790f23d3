#include "daemon/job/submission.h"

#include "daemon/job/network.h"
#include "ml/session.h"

namespace ml::job {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// Plans on the device may be cut for another number of threads than the estimate's; an eighth more has always been
// enough.
std::uint64_t with_reserve(std::uint64_t bytes) { return (bytes + bytes / 8 + 2 * kMiB - 1) / kMiB * kMiB; }

}  // namespace

Submission prepare_submission(std::string_view text, const std::string& file, const std::string& directory) {
  Submission submission;
  submission.job = parse_job_file(text, file);
  const JobFile& job = submission.job;
  connect({.transport = "embedded", .device = job.backend});
  const data::DataLoader training(open_training_data(job, directory), loader_options(job, true));
  std::optional<data::DataLoader> validation;
  if (const auto set = open_validation_data(job, directory)) validation.emplace(set, loader_options(job, false));
  Network network(job);
  train::Trainer trainer(network, optimizer_of(job, network), {.loss = loss_of(job), .seed = job.seed});
  submission.needed = trainer.estimate(training, validation ? &*validation : nullptr, job.backend);
  submission.memory_bytes = with_reserve(submission.needed.total);
  submission.steps = training.batches() * job.train.epochs;
  submission.parameters = network.parameter_count();
  return submission;
}

}  // namespace ml::job
