// The client's end of the session socket: requests and their answers, from any thread. Whoever waits for an answer
// reads packets for itself and the others.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "libmlclient/transport/seqpacket.h"
#include "libmlclient/transport/session_protocol.h"
#include "ml/error.h"

namespace ml::transport {

class SessionSocket {
 public:
  static constexpr int kPatience = 30'000;  // ms that mld may take for an answer; -1: as long as it lives

  // `name` is what errors call the other end. Throws io when `socket` is not a SOCK_SEQPACKET socket.
  SessionSocket(UniqueFd socket, std::string name);

  // Sends a request and waits for its answer. Throws what an ERROR says; device_lost when the socket hangs up or the
  // device is lost, before or meanwhile; timeout; corrupt when the answer is not exactly an Answer of that kind with
  // that many fds, which ends the session.
  template <class Answer, class Request>
  Packet ask(Request request, protocol::Kind kind, protocol::Kind answer, std::size_t answer_fds = 0,
             std::string_view text = {}, std::span<const int> fds = {}, int patience = kPatience) {
    request.header.kind = static_cast<std::uint32_t>(kind);
    Packet packet = exchange(std::as_writable_bytes(std::span(&request, 1)), text, fds, patience);
    check(packet, answer, packet.template as<Answer>() != nullptr, answer_fds);
    return packet;
  }
  // Sends a request whose answer nobody needs.
  template <class Request>
  void tell(Request request, protocol::Kind kind) noexcept {
    request.header.kind = static_cast<std::uint32_t>(kind);
    send_unanswered(std::as_writable_bytes(std::span(&request, 1)));
  }

  int fd() const { return socket_.get(); }
  const std::string& name() const { return name_; }
  // Ends the session: everybody who waits on the socket sees it hang up.
  void hang_up() noexcept;
  [[noreturn]] void broken(const std::string& what);  // hangs up and throws corrupt

 private:
  using Clock = std::chrono::steady_clock;
  Packet exchange(std::span<std::byte> request, std::string_view text, std::span<const int> fds, int patience);
  void check(Packet& packet, protocol::Kind wanted, bool fits, std::size_t fds);
  void send_unanswered(std::span<std::byte> request) noexcept;
  void send(std::span<std::byte> request, std::string_view text, std::span<const int> fds,
            const std::optional<Clock::time_point>& until);
  void receive(std::unique_lock<std::mutex>& lock, const std::optional<Clock::time_point>& until);
  void read_what_is_there();
  void received(Received what, Packet packet);
  void take(Packet packet);
  void cut_off();
  void malformed(const std::string& what);
  [[noreturn]] void lost();
  [[noreturn]] void too_late() const;

  UniqueFd socket_;
  std::string name_;
  std::mutex sending_;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  bool reading_ = false;  // a thread reads, without the mutex
  bool ended_ = false;
  std::optional<Error> why_;  // it ended, when mld has said so
  std::uint64_t last_request_ = 0;
  std::map<std::uint64_t, std::optional<Packet>> waiting_;  // requests, and answers that nobody has fetched yet
};

}  // namespace ml::transport
