#include "daemon/sessions/culprits.h"

#include <fstream>
#include <sstream>
#include <string>

namespace ml::daemon {

ProcessIdentity identify(uid_t uid, pid_t pid) {
  ProcessIdentity process{uid, pid, 0};
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  // The name, field 2, may hold anything; behind its last ")" the state is field 3 and the start time field 22.
  std::istringstream fields(line.substr(std::min(line.size(), line.rfind(')') + 1)));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  fields >> process.start_time;
  return process;
}

void Culprits::add(const ProcessIdentity& process) {
  // Processes that have ended do not come back.
  if (deaths_.size() >= 256 && !deaths_.contains(process))
    std::erase_if(deaths_, [](const auto& entry) { return identify(entry.first.uid, entry.first.pid) != entry.first; });
  ++deaths_[process];
}

std::uint32_t Culprits::deaths(const ProcessIdentity& process) const {
  const auto found = deaths_.find(process);
  return found != deaths_.end() ? found->second : 0;
}

}  // namespace ml::daemon
