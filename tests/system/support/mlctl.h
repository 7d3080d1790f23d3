// mlctl as a script calls it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/system/support/daemon.h"

namespace ml::test {

// Runs `mlctl ARGUMENTS...` against that daemon, as that user. Not on a terminal.
Finished mlctl(const Daemon& daemon, const std::vector<std::string>& arguments, std::optional<User> user = {});
// The stdout of a command that must succeed; throws with its stderr when it doesn't.
std::string mlctl_out(const Daemon& daemon, const std::vector<std::string>& arguments, std::optional<User> user = {});
// One that goes on (--follow, --watch).
Program start_mlctl(const Daemon& daemon, const std::vector<std::string>& arguments, std::optional<User> user = {});

}  // namespace ml::test
