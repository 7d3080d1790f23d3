// Users and their groups, from the user database.
#include <grp.h>
#include <pwd.h>

#include <cerrno>
#include <cstring>
#include <functional>

#include "daemon/process/spawn.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

using Lookup = std::function<int(passwd* entry, char* buffer, std::size_t bytes, passwd** found)>;

Identity look_up(const std::string& who, const Lookup& lookup) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(1024);
  int error;
  while ((error = lookup(&entry, buffer.data(), buffer.size(), &found)) == ERANGE) buffer.resize(buffer.size() * 2);
  if (error != 0) {
    throw Error(Code::io, "the user database cannot be read: " + std::string(std::strerror(error)), who);
  }
  if (found == nullptr) {
    throw Error(Code::not_found, "there is no " + who, "the user database",
                "make the user (systemd-sysusers makes those of an installed mld), or name another one: worker_user in "
                "mld.toml is whom workers run as");
  }
  Identity identity{found->pw_uid, found->pw_gid, std::vector<gid_t>(16)};
  int count = static_cast<int>(identity.groups.size());
  while (getgrouplist(found->pw_name, found->pw_gid, identity.groups.data(), &count) < 0)
    identity.groups.resize(static_cast<std::size_t>(count));
  identity.groups.resize(static_cast<std::size_t>(count));
  return identity;
}

}  // namespace

Identity identity_of(uid_t uid) {
  return look_up("user " + std::to_string(uid), [uid](passwd* entry, char* buffer, std::size_t bytes, passwd** found) {
    return getpwuid_r(uid, entry, buffer, bytes, found);
  });
}

Identity identity_of(const std::string& user) {
  return look_up("user '" + user + "'", [&user](passwd* entry, char* buffer, std::size_t bytes, passwd** found) {
    return getpwnam_r(user.c_str(), entry, buffer, bytes, found);
  });
}

}  // namespace ml::daemon
