// What is on its way to a client: sent at once as long as its socket takes it, kept in order otherwise. A client that
// does not read for long is given up.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

class Outbox {
 public:
  static constexpr std::size_t kMost = 64;  // packets kept

  // False: the client is gone, or `kMost` packets wait for it already. `fds` may be closed afterwards.
  bool send(int socket, std::span<std::byte> message, std::string_view text, std::span<const int> fds);
  // Sends what waits, as far as the socket takes it. False: the client is gone.
  bool flush(int socket);
  bool empty() const { return waiting_.empty(); }

 private:
  struct Packet {
    std::vector<std::byte> message;
    std::string text;
    std::vector<transport::UniqueFd> fds;
  };
  std::deque<Packet> waiting_;
};

}  // namespace ml::daemon
