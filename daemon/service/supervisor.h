// What mld's surroundings are told and asked: the supervisor's notification socket, the lock on the state directory,
// and the limits of the process.
#pragma once

#include <string>

#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

// sd_notify(3): "READY=1". Nothing, where nobody wants to know.
void notify_supervisor(const std::string& state);

// Held as long as it is open. Makes the directory if it is missing. Throws again when another mld has it, else io.
transport::UniqueFd lock_state_directory(const std::string& directory);

// As many files as the system allows; no core dumps, which would hold clients' data.
void set_process_limits();

}  // namespace ml::daemon
