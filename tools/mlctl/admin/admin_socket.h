// Connecting to mld's admin socket, with a reason when that fails.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <string>

#include "libmlclient/transport/unique_fd.h"

namespace ml::ctl {

// Connects to a unix socket. Throws nothing: `error` is an errno, 0 when connected.
struct Connected {
  transport::UniqueFd socket;
  int error = 0;
};
Connected connect_to(const std::string& path, std::chrono::nanoseconds timeout, int type = SOCK_STREAM);

}  // namespace ml::ctl
