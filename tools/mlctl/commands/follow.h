// The log of a job, as it is or as it grows.
#pragma once

#include <cstdint>

#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {

// Prints what there is.
Exit print_log(const Invocation& invocation, std::uint64_t job);
// Prints until the job ends: ok when it is done, failure when it failed or was cancelled. An mld that goes away is
// waited for: jobs survive its restart. `submitted`: this command has just done it.
Exit follow_log(const Invocation& invocation, std::uint64_t job, bool submitted);

}  // namespace ml::ctl
