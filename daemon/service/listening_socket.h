// A unix socket that mld listens on: made at a path, or handed over by systemd.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

class ListeningSocket {
 public:
  ListeningSocket() = default;
  // One that systemd has made.
  explicit ListeningSocket(transport::UniqueFd socket) : fd(std::move(socket)) {}
  // SOCK_SEQPACKET or SOCK_STREAM, its file with that mode, its folder made if missing (0700 for a mode without others,
  // else 0755). What a daemon that has ended left at the path is replaced; where somebody listens, or something else
  // lies, throws again or io.
  ListeningSocket(const std::string& path, int type, mode_t mode);
  ~ListeningSocket();  // takes its file away, unless it is another's by now
  ListeningSocket(ListeningSocket&& other) noexcept = default;
  ListeningSocket& operator=(ListeningSocket&& other) noexcept;

  transport::UniqueFd fd;

 private:
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// LISTEN_FDS: the listening unix sockets of that type that systemd passed to this process; they are taken once.
std::vector<transport::UniqueFd> activated_sockets(int type);

}  // namespace ml::daemon
