// Starting a child with exactly the fds, ids, CPUs and environment that it is to have.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

struct Identity {
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;
};
// Of a uid, from the user database. Throws not_found.
Identity identity_of(uid_t uid);
Identity identity_of(const std::string& user);

struct SpawnOptions {
  std::string program;                   // absolute path
  std::vector<std::string> arguments;    // without argv[0]
  std::vector<std::string> environment;  // "NAME=value"; nothing else is inherited
  // {ours, the child's number}. Of the rest, 0, 1 and 2 are /dev/null and everything else is closed.
  std::vector<std::pair<int, int>> fds;
  std::optional<Identity> identity;  // who it is to be; needs CAP_SETUID and CAP_SETGID
  std::vector<int> cpus;             // affinity; empty: unchanged
  int nice = 0;
  std::string directory;  // working directory, entered as that identity; empty: "/"
  std::string cgroup;     // absolute folder in the cgroup file system; empty: ours
  // A network namespace of its own, in which there is nothing but a loopback that is down. Only where this process may
  // make one (CAP_SYS_ADMIN); elsewhere nothing changes.
  bool private_network = false;
};
struct Child {
  pid_t pid = -1;
  transport::UniqueFd pidfd;  // readable when it has ended
};
// The child leads a session of its own, so a terminal's Ctrl-C is not for it. Its signals are unblocked and as by
// default, its parent-death signal is SIGKILL (when the calling thread ends, so call it on one that lives as long as
// the process), it has no capabilities and no_new_privs is set. Throws io naming the step that failed, in the child
// too, up to exec, and not_found when the folder can't be entered; then there is no child.
Child spawn(const SpawnOptions& options);

}  // namespace ml::daemon
