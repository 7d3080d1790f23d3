// Running a job on this process's session: trains, stores checkpoints, saves and registers the result.
#pragma once

#include "daemon/job/control.h"
#include "daemon/job/job_file.h"

namespace ml::job {

enum class Outcome { done, gave_way };

// The working directory is the job's. Goes on from the checkpoint if there is one. What happens is written to stdout, a
// line each. Throws device_lost when the session is gone, and whatever is wrong with the job. `managed`: there is a mld
// that the model can be registered with.
Outcome run_job(const JobFile& job, Control& control, bool managed);

// "what (where); hint" in one line.
std::string one_line(const Error& error);

}  // namespace ml::job
