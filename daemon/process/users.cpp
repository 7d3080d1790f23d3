#include "daemon/process/users.h"

#include <pwd.h>

#include <cerrno>
#include <vector>

namespace ml::daemon {

std::string user_name(uid_t uid) {
  std::vector<char> buffer(1024);
  for (;;) {
    passwd entry, *found = nullptr;
    const int error = getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
    if (error == ERANGE && buffer.size() < (1u << 20)) {
      buffer.resize(buffer.size() * 2);
      continue;
    }
    return found ? found->pw_name : std::to_string(uid);
  }
}

}  // namespace ml::daemon
