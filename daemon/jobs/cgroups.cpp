#include "daemon/jobs/cgroups.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {
namespace {

constexpr char kMount[] = "/sys/fs/cgroup";
constexpr long kCgroup2 = 0x63677270;  // CGROUP2_SUPER_MAGIC

// Where this process is in the one hierarchy of version 2: the line "0::/path".
std::string own_path() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return {};
}

bool make_folder(const std::string& path) { return mkdir(path.c_str(), 0755) == 0 || errno == EEXIST; }

}  // namespace

Cgroups::Cgroups() {
  struct statfs info {};
  if (statfs(kMount, &info) != 0 || info.f_type != kCgroup2) {
    why_not_ = std::string(kMount) + " is no cgroup 2 file system";
    return;
  }
  const std::string own = own_path();
  if (own.empty()) {
    why_not_ = "mld is in no cgroup of version 2";
    return;
  }
  const std::string folder = own == "/" ? kMount : kMount + own;
  // The root belongs to the system; a folder that mld can't make another one in has not been delegated to it.
  const std::string probe = folder + "/mld-probe";
  if (own == "/") {
    why_not_ = "mld is in the root cgroup, which is not its own";
  } else if (mkdir(probe.c_str(), 0755) != 0) {
    why_not_ = "'" + folder + "' has not been delegated to mld: " + std::strerror(errno);
  } else {
    rmdir(probe.c_str());
    root_ = folder;
  }
}

std::string Cgroups::make(uid_t owner, std::uint64_t job) const {
  if (root_.empty()) return {};
  const std::string folder = owner_folder(owner) + "/job-" + std::to_string(job);
  return make_folder(owner_folder(owner)) && make_folder(folder) ? folder : std::string();
}

void Cgroups::remove(uid_t owner, std::uint64_t job) const {
  if (root_.empty()) return;
  const std::string folder = owner_folder(owner) + "/job-" + std::to_string(job);
  const transport::UniqueFd all(open((folder + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
  if (all) [[maybe_unused]]
    const ssize_t written = write(all.get(), "1", 1);
  rmdir(folder.c_str());
  rmdir(owner_folder(owner).c_str());  // stays while the owner has other jobs
}

}  // namespace ml::daemon
