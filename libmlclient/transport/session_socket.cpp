#include "libmlclient/transport/session_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "libmlclient/transport/failure.h"

namespace ml::transport {
namespace {

using protocol::Kind;

// Waits for `events`, or for the socket to hang up. False: it is too late.
bool wait_for(int socket, short events, const std::optional<std::chrono::steady_clock::time_point>& until) {
  while (true) {
    int timeout = -1;
    if (until) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - std::chrono::steady_clock::now()).count();
      if (left <= 0) return false;
      timeout = static_cast<int>(std::min<std::int64_t>(left, INT32_MAX));
    }
    pollfd on{socket, events, 0};
    if (poll(&on, 1, timeout) > 0) return true;
  }
}

// Whether this process could open the files of a packet. Without room for all of them the system cuts the packet off.
bool has_room_for_files() {
  UniqueFd files[protocol::kMaxFds];
  for (UniqueFd& file : files) {
    file = UniqueFd(eventfd(0, EFD_CLOEXEC));
    if (!file) return false;
  }
  return true;
}

}  // namespace

SessionSocket::SessionSocket(UniqueFd socket, std::string name) : socket_(std::move(socket)), name_(std::move(name)) {
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(fd(), SOL_SOCKET, SO_TYPE, &type, &size) != 0)
    throw Error(Code::io, "'" + name_ + "' is no socket: " + std::strerror(errno));
  if (type != SOCK_SEQPACKET)
    throw Error(Code::io, "'" + name_ + "' is a socket of another kind", {}, "mld's sockets are SOCK_SEQPACKET");
  const int flags = fcntl(fd(), F_GETFL);
  if (flags < 0 || fcntl(fd(), F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd(), F_SETFD, FD_CLOEXEC) != 0)
    throw Error(Code::io, "'" + name_ + "': " + std::strerror(errno));
}

void SessionSocket::hang_up() noexcept { shutdown(fd(), SHUT_RDWR); }

void SessionSocket::lost() {
  if (why_) throw Error(*why_);
  throw Error(Code::device_lost, "the daemon at '" + name_ + "' ended this session, or its device was lost");
}

void SessionSocket::too_late() const {
  throw Error(Code::timeout, "the daemon at '" + name_ + "' does not answer", {},
              "is it stopped? 'mlctl doctor' looks at it");
}

void SessionSocket::broken(const std::string& what) {
  const std::lock_guard lock(mutex_);
  malformed(what);
  changed_.notify_all();
  lost();
}

void SessionSocket::cut_off() {
  if (has_room_for_files()) return malformed("a packet is cut off or has no header");
  why_.emplace(Code::no_space,
               "the files that the daemon at '" + name_ +
                   "' sent can't be opened: this process has as "
                   "many as it may",
               std::string(), "allow more open files (ulimit -n)");
  ended_ = true;
  hang_up();
}

void SessionSocket::malformed(const std::string& what) {
  if (!why_) {
    why_.emplace(Code::corrupt, "the daemon at '" + name_ + "' broke the protocol: " + what, std::string(),
                 "install mld and libmlclient.so from one release");
  }
  ended_ = true;
  hang_up();
}

Packet SessionSocket::exchange(std::span<std::byte> request, std::string_view text, std::span<const int> fds,
                               int patience) {
  std::optional<Clock::time_point> until;
  if (patience >= 0) until = Clock::now() + std::chrono::milliseconds(patience);
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = ++last_request_;
    waiting_.emplace(number, std::nullopt);
  }
  reinterpret_cast<protocol::Header*>(request.data())->request = number;
  std::optional<Packet> answer;
  try {
    send(request, text, fds, until);
    std::unique_lock lock(mutex_);
    std::optional<Packet>& place = waiting_.at(number);
    while (!place) {
      if (ended_) lost();
      if (!reading_)
        receive(lock, until);
      else if (!until)
        changed_.wait(lock);
      else if (changed_.wait_until(lock, *until) == std::cv_status::timeout && !place)
        too_late();
    }
    answer = std::move(place);
    waiting_.erase(number);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    waiting_.erase(number);
    throw;
  }
  return std::move(*answer);
}

void SessionSocket::send_unanswered(std::span<std::byte> request) noexcept {
  try {
    {
      const std::lock_guard lock(mutex_);
      reinterpret_cast<protocol::Header*>(request.data())->request = ++last_request_;
    }
    send(request, {}, {}, Clock::now() + std::chrono::milliseconds(kPatience));
    const std::lock_guard lock(mutex_);
    read_what_is_there();  // answers like this one's, which nobody waits for
  } catch (const std::exception&) {
    hang_up();  // mld would go on counting what this session has given back
  }
}

void SessionSocket::send(std::span<std::byte> request, std::string_view text, std::span<const int> fds,
                         const std::optional<Clock::time_point>& until) {
  const std::lock_guard lock(sending_);
  while (!send_packet(fd(), request, text, fds)) {
    if (errno == EMSGSIZE) {
      throw Error(Code::invalid_argument,
                  "a name of " + std::to_string(text.size()) + " bytes is too long for a request");
    }
    if (errno == ETOOMANYREFS)
      throw Error(Code::no_space, "too many open files are on their way to the daemon at '" + name_ + "'");
    if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) {
      const std::lock_guard reading(mutex_);
      read_what_is_there();  // mld may have said why
      lost();
    }
    if (errno != EAGAIN && errno != ENOBUFS)
      throw Error(Code::io, "cannot send to the daemon at '" + name_ + "': " + std::strerror(errno));
    if (!wait_for(fd(), POLLOUT, until)) too_late();
  }
}

// Reads one packet, for whomever it is.
void SessionSocket::receive(std::unique_lock<std::mutex>& lock, const std::optional<Clock::time_point>& until) {
  reading_ = true;
  lock.unlock();
  Packet packet;
  Received what = Received::nothing;
  const bool in_time = wait_for(fd(), POLLIN, until);
  if (in_time) what = receive_packet(fd(), protocol::kMaxPacket, packet);
  lock.lock();
  reading_ = false;
  received(what, std::move(packet));
  changed_.notify_all();
  if (!in_time) too_late();
}

// Hold the mutex.
void SessionSocket::read_what_is_there() {
  while (!reading_ && !ended_) {
    Packet packet;
    const Received what = receive_packet(fd(), protocol::kMaxPacket, packet);
    if (what == Received::nothing) break;
    received(what, std::move(packet));
  }
  changed_.notify_all();
}

void SessionSocket::received(Received what, Packet packet) {
  switch (what) {
    case Received::packet: take(std::move(packet)); break;
    case Received::malformed: cut_off(); break;
    case Received::closed: ended_ = true; break;
    case Received::nothing: break;
  }
}

void SessionSocket::take(Packet packet) {
  if (packet.request() != 0) {
    const auto at = waiting_.find(packet.request());
    if (at != waiting_.end() && !at->second)
      at->second = std::move(packet);
    else if (packet.request() > last_request_)
      malformed("it answered request " + std::to_string(packet.request()) + ", which was never made");
    return;  // otherwise nobody waits for it any more
  }
  const auto kind = static_cast<Kind>(packet.kind());
  const auto* const failed = kind == Kind::error ? packet.as<protocol::Failed>() : nullptr;
  if (failed != nullptr && failed->status < 0) {  // why mld ends the session
    if (!why_) why_ = failure_in(packet);
    ended_ = true;
  } else if (kind == Kind::device_lost && packet.as<protocol::DeviceLost>() != nullptr) {
    ended_ = true;  // queues are told by their state page
  } else {
    malformed("message " + std::to_string(packet.kind()) + " came unasked");
  }
}

void SessionSocket::check(Packet& packet, Kind wanted, bool fits, std::size_t fds) {
  const auto kind = static_cast<Kind>(packet.kind());
  if (kind == Kind::error) {
    const auto* const failed = packet.as<protocol::Failed>();
    if (failed == nullptr || failed->status >= 0) broken("an error that is none");
    throw failure_in(packet);
  }
  if (kind != wanted || !fits) {
    broken("the answer is message " + std::to_string(packet.kind()) + " of " + std::to_string(packet.bytes.size()) +
           " bytes, not message " + std::to_string(static_cast<std::uint32_t>(wanted)));
  }
  if (packet.fds.size() != fds) {
    broken("message " + std::to_string(packet.kind()) + " came with " + std::to_string(packet.fds.size()) +
           " files, not " + std::to_string(fds));
  }
}

}  // namespace ml::transport
