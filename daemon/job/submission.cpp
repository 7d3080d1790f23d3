#include "daemon/job/submission.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "daemon/job/network.h"
#include "ml/session.h"

namespace ml::job {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// Plans on the device may be cut for another number of threads than the estimate's; an eighth more has always been
// enough.
std::uint64_t with_reserve(std::uint64_t bytes) { return (bytes + bytes / 8 + 2 * kMiB - 1) / kMiB * kMiB; }

// The job writes here when it has run for hours; that it can't is better said now.
void check_writable(const std::string& path, const std::string& directory) {
  const std::filesystem::path parent = std::filesystem::path(in_directory(path, directory)).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  if (access(folder.c_str(), W_OK | X_OK) == 0) return;
  throw Error(Code::io, "'" + path + "' can't be written: its folder '" + folder + "': " + std::strerror(errno), {},
              "make the folder, or name another one in the job file");
}

}  // namespace

Submission prepare_submission(std::string_view text, const std::string& file, const std::string& directory) {
  Submission submission;
  submission.job = parse_job_file(text, file);
  const JobFile& job = submission.job;
  check_writable(job.train.checkpoint, directory);
  if (!job.output.empty()) check_writable(job.output, directory);
  connect({.transport = "embedded"});
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
