#include "libmlclient/transport/daemon_address.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace ml::transport {
namespace {

using Clock = std::chrono::steady_clock;

// 0, or why not.
int connect_to(const std::string& path, UniqueFd& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd made(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) return errno;
  if (connect(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return errno;
  socket = std::move(made);
  return 0;
}

// Waits longer each time, as long as there is time left; false when there is none.
class Backoff {
 public:
  explicit Backoff(std::uint64_t patience) : until_(Clock::now() + std::chrono::nanoseconds(patience)) {}
  bool wait() {
    const auto now = Clock::now();
    if (now >= until_) return false;
    std::this_thread::sleep_for(std::min<Clock::duration>(next_, until_ - now));
    next_ = std::min<Clock::duration>(next_ * 2, std::chrono::milliseconds(200));
    return true;
  }

 private:
  Clock::time_point until_;
  Clock::duration next_ = std::chrono::milliseconds(5);
};

}  // namespace

bool is_absent(int error) { return error == ENOENT || error == ECONNREFUSED || error == ENOTDIR; }

void refuse_connecting(const std::string& path, int error) {
  if (is_absent(error)) {
    throw Error(
        Code::not_found, "no daemon listens at '" + path + "'", {},
        "start it (mld --user, or systemctl start mld), or set MLACCEL=embedded to run the worker in this process");
  }
  if (error == EACCES || error == EPERM) {
    throw Error(Code::denied, "the daemon at '" + path + "' may not be used by this user", {},
                "the socket's owner and mode say who may; MLACCEL=embedded runs the worker in this process");
  }
  if (error == EPROTOTYPE) {
    throw Error(Code::io, "'" + path + "' is not the socket of mld", {},
                "mld.sock is for programs, admin.sock for mlctl");
  }
  if (error == EAGAIN) throw Error(Code::again, "the daemon at '" + path + "' takes no connections at the moment");
  throw Error(Code::io, "cannot connect to the daemon at '" + path + "': " + std::strerror(error));
}

std::unique_ptr<Transport> reach(const std::string& path, std::uint64_t patience, const MakeTransport& make,
                                 int& error) {
  constexpr std::uint64_t kBusy = 10'000'000'000;    // a full backlog empties soon
  constexpr std::uint64_t kLeaving = 1'000'000'000;  // a daemon that was killed may seem to listen for a moment
  Backoff backoff(patience), busy(kBusy), leaving(std::max(patience, kLeaving));
  while (true) {
    UniqueFd socket;
    error = connect_to(path, socket);
    if (error != 0) {
      if (is_absent(error) ? backoff.wait() : error == EAGAIN && busy.wait()) continue;
      return nullptr;
    }
    try {
      return make(std::move(socket));
    } catch (const Error& refused) {
      if (refused.code() == Code::device_lost ? leaving.wait() : refused.code() == Code::again && backoff.wait())
        continue;
      throw;
    }
  }
}

std::unique_ptr<Transport> reach(const std::string& path, std::uint64_t patience, const MakeTransport& make) {
  int error = 0;
  std::unique_ptr<Transport> transport = reach(path, patience, make, error);
  if (!transport) refuse_connecting(path, error);
  return transport;
}

}  // namespace ml::transport
