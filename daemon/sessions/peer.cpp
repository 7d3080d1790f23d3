#include <grp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "daemon/sessions/sessions.h"
#include "ml/error.h"

namespace ml::daemon {

namespace {

[[noreturn]] void refuse(const char* what) {
  throw Error(Code::io, std::string(what) + ": " + std::generic_category().message(errno), "a client's socket");
}

// The groups that the peer had when it connected. Taken from the socket: the user database says which groups a user
// should have, not which ones this process has.
std::vector<gid_t> groups_of(int socket) {
  std::vector<gid_t> groups(32);
  for (;;) {
    socklen_t bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0) {
      groups.resize(bytes / sizeof(gid_t));
      return groups;
    }
    // ERANGE: `bytes` is now what is needed.
    if (errno != ERANGE || bytes <= groups.size() * sizeof(gid_t)) refuse("can't read its groups");
    groups.resize(bytes / sizeof(gid_t));
  }
}

}  // namespace

std::optional<gid_t> group_id(const std::string& name) {
  std::vector<char> buffer(1024);
  for (;;) {
    group entry, *found = nullptr;
    const int result = getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (result == ERANGE && buffer.size() < (1u << 20)) {
      buffer.resize(buffer.size() * 2);
      continue;
    }
    return found ? std::optional(found->gr_gid) : std::nullopt;
  }
}

Peer peer_of(int socket, std::optional<gid_t> admin_group) {
  ucred credentials{};
  socklen_t bytes = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) refuse("can't read its credentials");
  Peer peer{credentials.uid, credentials.gid, credentials.pid, false};
  peer.admin = peer.uid == 0 || peer.uid == geteuid();
  if (!peer.admin && admin_group) {
    const std::vector<gid_t> groups = groups_of(socket);
    peer.admin = peer.gid == *admin_group || std::find(groups.begin(), groups.end(), *admin_group) != groups.end();
  }
  return peer;
}

}  // namespace ml::daemon
