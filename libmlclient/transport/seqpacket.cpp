#include "libmlclient/transport/seqpacket.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "libmlclient/transport/session_protocol.h"

namespace ml::transport {
namespace {

using protocol::Header;

// As many as the system lets anybody send: what there is no room for would be closed by the kernel, here, and closing
// can wait for long.
constexpr std::size_t kMostSent = 253;
constexpr std::size_t kControlBytes = CMSG_SPACE(sizeof(int) * kMostSent) + CMSG_SPACE(sizeof(ucred));

const Header& header_of(const Packet& packet) { return *reinterpret_cast<const Header*>(packet.bytes.data()); }

void take_fds(msghdr& message, std::vector<UniqueFd>& fds) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
}

}  // namespace

std::uint32_t Packet::kind() const { return header_of(*this).kind; }
std::uint64_t Packet::request() const { return header_of(*this).request; }

std::string_view Packet::text() const {
  const Header& header = header_of(*this);
  return {reinterpret_cast<const char*>(bytes.data()) + bytes.size() - header.text_bytes, header.text_bytes};
}

bool Packet::fits(std::size_t message_bytes) const {
  return bytes.size() == message_bytes + header_of(*this).text_bytes && header_of(*this).reserved == 0;
}

bool send_packet(int socket, std::span<std::byte> message, std::string_view text, std::span<const int> fds) {
  auto* const header = reinterpret_cast<Header*>(message.data());
  header->bytes = static_cast<std::uint32_t>(message.size() + text.size());
  header->text_bytes = static_cast<std::uint32_t>(text.size());
  if (header->bytes > protocol::kMaxPacket || fds.size() > protocol::kMaxFds) {
    errno = EMSGSIZE;
    return false;
  }
  iovec parts[2] = {{message.data(), message.size()}, {const_cast<char*>(text.data()), text.size()}};
  alignas(cmsghdr) char control[kControlBytes] = {};
  msghdr outer{};
  outer.msg_iov = parts;
  outer.msg_iovlen = text.empty() ? 1 : 2;
  if (!fds.empty()) {
    outer.msg_control = control;
    outer.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* const part = CMSG_FIRSTHDR(&outer);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(part), fds.data(), sizeof(int) * fds.size());
  }
  ssize_t sent;
  do sent = sendmsg(socket, &outer, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(header->bytes);
}

Received receive_packet(int socket, std::size_t max_bytes, Packet& packet) {
  packet.fds.clear();
  packet.bytes.resize(max_bytes);
  iovec part{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) char control[kControlBytes];
  msghdr outer{};
  outer.msg_iov = &part;
  outer.msg_iovlen = 1;
  outer.msg_control = control;
  outer.msg_controllen = sizeof control;
  ssize_t got;
  // ECONNRESET, once: the other end closed without reading all that it was sent. What it said before comes next.
  do got = recvmsg(socket, &outer, MSG_CMSG_CLOEXEC);
  while (got < 0 && (errno == EINTR || errno == ECONNRESET));
  if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? Received::nothing : Received::closed;
  take_fds(outer, packet.fds);
  if (got == 0) return Received::closed;
  packet.bytes.resize(static_cast<std::size_t>(got));
  const bool whole = (outer.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 && packet.fds.size() <= protocol::kMaxFds &&
                     packet.bytes.size() >= sizeof(Header) && header_of(packet).bytes == packet.bytes.size() &&
                     header_of(packet).text_bytes <= packet.bytes.size() - sizeof(Header);
  return whole ? Received::packet : Received::malformed;
}

}  // namespace ml::transport
