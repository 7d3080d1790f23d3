// mld's log: stderr, a line an event. Under systemd each line begins with its priority, which the journal understands;
// elsewhere with the time and the level.
#pragma once

#include <string>

namespace ml::daemon {

void start_log();
void set_log_level(const std::string& level);  // as in mld.toml

}  // namespace ml::daemon
