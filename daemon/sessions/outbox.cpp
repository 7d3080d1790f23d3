#include "daemon/sessions/outbox.h"

#include <fcntl.h>

#include <cerrno>
#include <string>

#include "libmlclient/transport/seqpacket.h"

namespace ml::daemon {
namespace {

bool full() { return errno == EAGAIN || errno == EWOULDBLOCK; }

}  // namespace

bool Outbox::send(int socket, std::span<std::byte> message, std::string_view text, std::span<const int> fds) {
  if (waiting_.empty()) {
    if (transport::send_packet(socket, message, text, fds)) return true;
    if (!full()) return false;
  }
  if (waiting_.size() == kMost) return false;
  Packet packet{{message.begin(), message.end()}, std::string(text), {}};
  for (const int fd : fds) {
    packet.fds.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!packet.fds.back()) return false;
  }
  waiting_.push_back(std::move(packet));
  return true;
}

bool Outbox::flush(int socket) {
  while (!waiting_.empty()) {
    Packet& packet = waiting_.front();
    std::vector<int> fds;
    for (const transport::UniqueFd& fd : packet.fds) fds.push_back(fd.get());
    if (!transport::send_packet(socket, packet.message, packet.text, fds)) return full();
    waiting_.pop_front();
  }
  return true;
}

}  // namespace ml::daemon
