// What is known of a job before it is submitted: that its file is right, that its data is there and fits the network,
// that its results can be written, and how much memory a step needs.
#pragma once

#include <string>
#include <string_view>

#include "daemon/job/job_file.h"

namespace ml::job {

struct Submission {
  JobFile job;
  train::MemoryEstimate needed;
  std::uint64_t memory_bytes = 0;  // to ask for, of each device: `needed` and a reserve, in whole MiB
  std::int64_t steps = 0;          // in all
  std::int64_t parameters = 0;
};

// Opens the data, traces and plans the steps, and executes no step. Opens an embedded session, which is then this
// process's default. Throws what is wrong with the file, the data or how they fit.
Submission prepare_submission(std::string_view text, const std::string& file, const std::string& directory);

}  // namespace ml::job
