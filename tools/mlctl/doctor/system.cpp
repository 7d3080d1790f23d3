#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "libmlclient/transport/unique_fd.h"
#include "tools/mlctl/doctor/doctor.h"
#include "tools/mlctl/output/human.h"

namespace ml::ctl {
namespace {

std::string errno_text(int error) { return std::strerror(error); }  // NOLINT(concurrency-mt-unsafe): one thread

std::string limit_text(rlim_t value, bool bytes) {
  if (value == RLIM_INFINITY) return "unlimited";
  return bytes ? human_bytes(value) : std::to_string(value);
}

std::string first_line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "150000 100000" is one and a half CPUs; empty without a quota.
std::string cgroup_quota() {
  std::string own = first_line_of("/proc/self/cgroup");
  own = own.starts_with("0::") ? own.substr(3) : "";
  for (const std::string& folder : {"/sys/fs/cgroup" + own, std::string("/sys/fs/cgroup")}) {
    const std::string quota = first_line_of(folder + "/cpu.max");
    if (!quota.empty() && !quota.starts_with("max")) return quota;
  }
  return {};
}

}  // namespace

std::vector<Check> diagnose_event_loop(const Patient&) {
  io_uring_params parameters{};
  const transport::UniqueFd ring(static_cast<int>(syscall(SYS_io_uring_setup, 1, &parameters)));
  if (ring) return {good("io_uring", "works")};
  return {uneasy("io_uring", "refused: " + errno_text(errno) + "; mld uses epoll instead",
                 errno == ENOSYS ? "a kernel with io_uring takes fewer system calls"
                                 : "kernel.io_uring_disabled, seccomp or a container forbids it: it works without")};
}

std::vector<Check> diagnose_memfd(const Patient&) {
  const transport::UniqueFd memory(memfd_create("mlctl-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory)
    return {bad("memfd", "refused: " + errno_text(errno), "rings and arenas are memfds: mld can't work here")};
  if (fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
    return {bad("memfd", "sealing refused: " + errno_text(errno), "Linux 5.1 or newer is needed")};
  return {good("memfd", "can be sealed")};
}

std::vector<Check> diagnose_sandbox(const Patient&) {
  std::vector<Check> checks;
  const long version = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version > 0)
    checks.push_back(good("Landlock", "version " + std::to_string(version)));
  else
    checks.push_back(uneasy("Landlock", "not there: " + errno_text(errno) + "; workers do without this wall",
                            "boot with lsm=landlock,... (Linux 5.13 or newer); seccomp and permissions still hold"));
  const std::string actions = first_line_of("/proc/sys/kernel/seccomp/actions_avail");
  checks.push_back(actions.find("kill_process") != std::string::npos
                       ? good("seccomp", "can kill a process")
                       : uneasy("seccomp", actions.empty() ? "can't be seen here" : "offers only: " + actions,
                                "mld-worker needs it; without, it says so when it starts"));
  return checks;
}

std::vector<Check> diagnose_limits(const Patient&) {
  std::vector<Check> checks;
  rlimit limit{};
  constexpr rlim_t kFiles = 4096;
  getrlimit(RLIMIT_NOFILE, &limit);
  const std::string files = limit_text(limit.rlim_cur, false) + ", at most " + limit_text(limit.rlim_max, false);
  checks.push_back(limit.rlim_max >= kFiles
                       ? good("open files", files)
                       : uneasy("open files", files + ": mld --user serves few clients with so few",
                                "raise `ulimit -n`; the service has LimitNOFILE"));
  constexpr rlim_t kLocked = 64 << 10;
  getrlimit(RLIMIT_MEMLOCK, &limit);
  checks.push_back(
      limit.rlim_max >= kLocked
          ? good("locked memory", limit_text(limit.rlim_cur, true) + ", at most " + limit_text(limit.rlim_max, true))
          : uneasy("locked memory", limit_text(limit.rlim_max, true) + ": too little for io_uring before Linux 5.12",
                   "raise `ulimit -l`"));
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  checks.push_back(good("memory", human_bytes(static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page))));
  return checks;
}

std::vector<Check> diagnose_cpus(const Patient&) {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  const int usable = CPU_COUNT(&set);
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  std::string text = std::to_string(usable) + " of " + std::to_string(online) + " usable";
  if (const std::string quota = cgroup_quota(); !quota.empty()) text += ", quota " + quota + " (cpu.max)";
  if (usable < 2) {
    return {uneasy("cpus", text + ": client and worker take turns", "two or more make a round trip many times faster")};
  }
  return {good("cpus", text)};
}

std::vector<Check> diagnose_kernel_module(const Patient&) {
  utsname system{};
  uname(&system);
  std::error_code ignored;
  std::vector<Check> checks{good("kernel", std::string(system.sysname) + ' ' + system.release)};
  if (std::filesystem::exists("/sys/module/mlaccel", ignored)) {
    checks.push_back(good("kernel module", "loaded"));
  } else {
    checks.push_back(good("kernel module",
                          "not loaded: rings and arenas are sealed memory files between processes, which CPU devices "
                          "need no module for"));
  }
  return checks;
}

}  // namespace ml::ctl
