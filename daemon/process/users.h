// What people call a uid.
#pragma once

#include <sys/types.h>

#include <string>

namespace ml::daemon {

// From the user database; the number where it has no name.
std::string user_name(uid_t uid);

}  // namespace ml::daemon
