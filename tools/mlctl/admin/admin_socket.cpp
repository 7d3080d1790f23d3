#include "tools/mlctl/admin/admin_socket.h"

#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ml::ctl {

Connected connect_to(const std::string& path, std::chrono::nanoseconds timeout, int type) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return {{}, ENAMETOOLONG};
  std::memcpy(address.sun_path, path.data(), path.size());
  transport::UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!socket) return {{}, errno};
  // A full backlog makes connect() wait: for as long as sending may.
  const auto us = std::max<std::int64_t>(1, std::chrono::duration_cast<std::chrono::microseconds>(timeout).count());
  const timeval limit{.tv_sec = us / 1'000'000, .tv_usec = us % 1'000'000};
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {{}, errno};
  return {std::move(socket), 0};
}

}  // namespace ml::ctl
