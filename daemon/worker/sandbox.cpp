#include "daemon/worker/sandbox.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "libmlclient/transport/unique_fd.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

using transport::UniqueFd;

void require(long result, const char* step) {
  if (result >= 0) return;
  throw Error(Code::io, std::string(step) + ": " + std::strerror(errno), "sandbox");
}

void drop_capabilities() {
  require(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "clearing ambient capabilities");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  require(syscall(SYS_capset, &header, none), "dropping capabilities");
}

// Newer than the oldest headers that this is built with.
struct LandlockRules {
  std::uint64_t files;
  std::uint64_t network;  // from ABI 4
  std::uint64_t scoped;   // from ABI 6
};
constexpr std::uint64_t kBindTcp = 1u << 0, kConnectTcp = 1u << 1;
constexpr std::uint64_t kAbstractSockets = 1u << 0, kSignals = 1u << 1;

// Every right to files that this ABI knows.
std::uint64_t all_file_rights(long abi) {
  constexpr int kRights[] = {0, 13, 14, 15, 15, 16};  // by ABI; the fifth added ioctl on devices
  return (std::uint64_t{1} << kRights[std::min(abi, 5L)]) - 1;
}

void allow_reading(int ruleset, const char* path) {
  const UniqueFd folder(open(path, O_PATH | O_CLOEXEC));
  if (!folder) return;  // not there, so there is nothing to read
  landlock_path_beneath_attr rule{LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR, folder.get()};
  require(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0), path);
}

bool restrict_files() {
  const long abi = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1) return false;
  LandlockRules rules{all_file_rights(abi), abi >= 4 ? kBindTcp | kConnectTcp : 0,
                      abi >= 6 ? kAbstractSockets | kSignals : 0};
  const std::size_t bytes = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
  const UniqueFd ruleset(static_cast<int>(syscall(SYS_landlock_create_ruleset, &rules, bytes, 0)));
  require(ruleset.get(), "making Landlock rules");
  // How many CPUs there are, and how much of them the cgroup may use.
  for (const char* path : {"/sys/devices/system", "/sys/fs/cgroup", "/proc/self"}) allow_reading(ruleset.get(), path);
  require(syscall(SYS_landlock_restrict_self, ruleset.get(), 0), "entering Landlock");
  return true;
}

}  // namespace

bool give_up_files() {
  require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "setting no_new_privs");
  drop_capabilities();
  const rlimit none{0, 0};
  require(setrlimit(RLIMIT_CORE, &none), "forbidding core dumps");
  const bool restricted = restrict_files();
  require(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "refusing to be traced");
  return restricted;
}

}  // namespace ml::daemon
