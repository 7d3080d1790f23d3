// What the functions of a session's requests have in common: reading a message, and asking the worker.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/workers/worker_protocol.h"
#include "libmlclient/transport/seqpacket.h"
#include "libmlclient/transport/session_protocol.h"
#include "ml/error.h"

namespace ml::daemon {

// The client broke the rules of the protocol, which ends its session.
struct Violation {
  Error error;
};
[[noreturn]] inline void violated(const std::string& what) {
  throw Violation{Error(Code::corrupt, what, "the session's socket", "client and mld disagree about the protocol")};
}

// The message of a packet with so many files; text only where it is allowed.
template <class T>
const T& message_in(const transport::Packet& packet, std::size_t fds = 0, bool with_text = false) {
  const auto* const message = packet.as<T>();
  if (message == nullptr || (!with_text && !packet.text().empty()))
    violated("a message of kind " + std::to_string(packet.kind()) + " has " + std::to_string(packet.bytes.size()) +
             " bytes with " + std::to_string(packet.text().size()) + " of text, expected " + std::to_string(sizeof(T)) +
             (with_text ? " and text" : " without text"));
  if (packet.fds.size() != fds)
    violated("a message of kind " + std::to_string(packet.kind()) + " brings " + std::to_string(packet.fds.size()) +
             " files, expected " + std::to_string(fds));
  return *message;
}

inline void must_be_zero(std::uint32_t reserved) {
  if (reserved != 0) violated("a reserved field is " + std::to_string(reserved) + ", expected 0");
}

template <class T>
T to_worker(worker_protocol::Kind kind, std::uint64_t session) {
  T message{};
  message.header.kind = static_cast<std::uint32_t>(kind);
  message.session = session;
  return message;
}

// What the worker answered, or the error that it is not what was asked for.
template <class T>
const T& answer_in(const transport::Packet& packet, std::size_t fds = 0) {
  const auto* const message = packet.as<T>();
  if (message == nullptr || packet.fds.size() != fds)
    throw Error(Code::internal, "the worker answered with a message of kind " + std::to_string(packet.kind()));
  return *message;
}

inline Error lost() {
  return Error(Code::device_lost, "the device's worker died", {}, "connect again: mld has started another");
}

}  // namespace ml::daemon
