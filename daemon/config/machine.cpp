#include "daemon/config/machine.h"

#include <sched.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace ml::daemon {

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  // The kernel refuses a mask that is smaller than its own.
  for (int count = CPU_SETSIZE; count <= 1 << 20; count *= 2) {
    cpu_set_t* const mask = CPU_ALLOC(static_cast<std::size_t>(count));
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(count));
    const bool known = sched_getaffinity(0, bytes, mask) == 0;
    for (int cpu = 0; known && cpu < count; ++cpu)
      if (CPU_ISSET_S(static_cast<std::size_t>(cpu), bytes, mask)) cpus.push_back(cpu);
    CPU_FREE(mask);
    if (known) break;
  }
  return cpus;
}

std::uint64_t memory_bytes() {
  std::uint64_t bytes =
      static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  // "0::/system.slice/mld.service": every folder from there up may have a limit.
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::/")) continue;
    for (std::filesystem::path group = line.substr(3);; group = group.parent_path()) {
      std::uint64_t limit;  // "max" is no number
      if (std::ifstream("/sys/fs/cgroup" + group.string() + "/memory.max") >> limit) bytes = std::min(bytes, limit);
      if (group == group.parent_path()) break;
    }
  }
  return bytes;
}

std::uint64_t file_system_bytes(const std::string& path) {
  for (std::filesystem::path at = path;; at = at.parent_path()) {
    struct statvfs facts {};
    if (statvfs(at.c_str(), &facts) == 0) return static_cast<std::uint64_t>(facts.f_blocks) * facts.f_frsize;
    if (at == at.parent_path()) return 0;
  }
}

}  // namespace ml::daemon
