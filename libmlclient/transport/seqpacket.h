// One packet with fds over a SOCK_SEQPACKET socket. Used by both ends of the session socket and of the worker socket.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "libmlclient/transport/unique_fd.h"

namespace ml::transport {

// A packet as it came: at least a Header whose `bytes` is the packet's size and whose text lies within it.
struct Packet {
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> fds;

  std::uint32_t kind() const;
  std::uint64_t request() const;
  // The message when the packet is exactly a T and its text; null otherwise. T begins with protocol::Header.
  template <class T>
  const T* as() const {
    return fits(sizeof(T)) ? reinterpret_cast<const T*>(bytes.data()) : nullptr;
  }
  std::string_view text() const;
  bool fits(std::size_t message_bytes) const;
};

enum class Received { packet, nothing, closed, malformed };

// Fills in bytes and text_bytes of the header at the start of `message` and sends it with `fds`. False: the socket is
// full or gone (errno says which). Never raises SIGPIPE, never blocks when the socket is non-blocking.
bool send_packet(int socket, std::span<std::byte> message, std::string_view text = {}, std::span<const int> fds = {});
template <class T>
bool send_message(int socket, T message, std::string_view text = {}, std::span<const int> fds = {}) {
  return send_packet(socket, std::as_writable_bytes(std::span(&message, 1)), text, fds);
}

// Receives one packet of at most `max_bytes`. malformed: truncated, too many fds, or no valid header; all fds that came
// are in the packet even then. nothing: a non-blocking socket without a packet.
Received receive_packet(int socket, std::size_t max_bytes, Packet& packet);

}  // namespace ml::transport
