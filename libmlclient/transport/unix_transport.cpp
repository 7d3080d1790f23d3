// The worker in another process, reached through mld: session_protocol.h says what is said.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>

#include "libmlclient/transport/ring_mapping.h"
#include "libmlclient/transport/session_socket.h"
#include "libmlclient/transport/transport.h"

namespace ml::transport {
namespace {

using protocol::Kind;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kDepth = 256;

template <std::size_t N>
void put_name(char (&field)[N], std::string_view name, const char* what) {
  if (name.size() >= N) {
    throw Error(Code::invalid_argument,
                std::string(what) + " '" + std::string(name) + "' has more than " + std::to_string(N - 1) + " bytes");
  }
  std::memcpy(field, name.data(), name.size());
}

class UnixTransport final : public Transport {
 public:
  UnixTransport(UniqueFd connected, std::string name, const SessionOptions& options, bool comes_back)
      : name_(std::move(name)), comes_back_(comes_back), socket_(std::move(connected), name_) {
    say_hello(options);
    open_queue(options.depth != 0 ? options.depth : kDepth);
  }

  const std::string& name() const override { return name_; }
  const std::string& device() const override { return device_; }
  std::string fingerprint() const override { return fingerprint_; }
  ClientRing& ring() override { return *ring_; }

  bool shares_memory() const override { return true; }
  std::uint32_t add_arena(void*, std::uint64_t bytes, int fd) override {
    protocol::AddArena request{};
    request.bytes = bytes;
    const Packet answer = socket_.ask<protocol::ArenaAdded>(request, Kind::add_arena, Kind::arena, 0, {}, {&fd, 1});
    const std::uint32_t arena = answer.as<protocol::ArenaAdded>()->arena;
    if (arena == 0) socket_.broken("an arena has number 0");
    return arena;
  }
  void remove_arena(std::uint32_t arena) noexcept override {
    protocol::RemoveArena request{};
    request.arena = arena;
    socket_.tell(request, Kind::remove_arena);
  }

  OpenedModel open_model(const std::string& reference) override {
    constexpr int kAsLongAsItTakes = -1;  // it may have to be loaded first
    Packet answer = socket_.ask<protocol::ModelOpened>(protocol::OpenModel{}, Kind::open_model, Kind::model, 1,
                                                       reference, {}, kAsLongAsItTakes);
    const auto& opened = *answer.as<protocol::ModelOpened>();
    OpenedModel model{opened.program, opened.version, std::move(answer.fds[0])};
    struct stat status {};
    if (opened.program.generation == 0) socket_.broken("a model has no program");
    if (fstat(model.file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
        static_cast<std::uint64_t>(status.st_size) != opened.bytes)
      socket_.broken("the file of a model is not the " + std::to_string(opened.bytes) +
                     " bytes that it was said to be");
    return model;
  }
  std::uint64_t register_model(const std::string& name, int file, std::uint64_t bytes, bool shared) override {
    constexpr int kAsLongAsItTakes = -1;  // it is copied to disk and loaded once
    protocol::RegisterModel request{};
    request.bytes = bytes;
    request.shared = shared ? 1 : 0;
    const Packet answer = socket_.ask<protocol::ModelRegistered>(request, Kind::register_model, Kind::registered, 0,
                                                                 name, {&file, 1}, kAsLongAsItTakes);
    return answer.as<protocol::ModelRegistered>()->version;
  }

  bool comes_back() const override { return comes_back_; }
  void hang_up() noexcept override { socket_.hang_up(); }

 private:
  void say_hello(const SessionOptions& options) {
    protocol::Hello hello{};
    hello.magic = protocol::kMagic;
    hello.oldest_version = protocol::kOldestVersion;
    hello.newest_version = protocol::kVersion;
    put_name(hello.device, options.device, "the device's name");
    const std::string_view program = program_invocation_short_name;
    put_name(hello.client, program.substr(0, protocol::kMaxName - 1), "the program's name");
    const Packet answer = socket_.ask<protocol::Welcome>(hello, Kind::hello, Kind::welcome);
    const auto& welcome = *answer.as<protocol::Welcome>();
    if (welcome.version < protocol::kOldestVersion || welcome.version > protocol::kVersion)
      socket_.broken("it chose version " + std::to_string(welcome.version) + " of " +
                     std::to_string(protocol::kOldestVersion) + " to " + std::to_string(protocol::kVersion));
    if (welcome.features != 0) socket_.broken("it chose features that were not offered");
    const std::size_t length = strnlen(welcome.device, sizeof welcome.device);
    if (length == 0 || length == sizeof welcome.device) socket_.broken("its device has no name");
    device_.assign(welcome.device, length);
    fingerprint_ = answer.text();
    if (options.threads != 0 && static_cast<std::uint32_t>(options.threads) != welcome.threads) {
      throw Error(Code::invalid_argument,
                  std::to_string(options.threads) + " threads were asked for; the daemon's device '" + device_ +
                      "' has " + std::to_string(welcome.threads),
                  {}, "leave SessionOptions::threads and MLACCEL_THREADS at 0: the daemon's settings decide");
    }
  }

  void open_queue(std::uint32_t depth) {
    protocol::OpenQueue request{};
    request.depth = depth;
    Packet answer = socket_.ask<protocol::QueueOpened>(request, Kind::open_queue, Kind::queue, 5);
    if (answer.as<protocol::QueueOpened>()->depth != depth)
      socket_.broken("a queue of depth " + std::to_string(depth) + " was asked for, it has " +
                     std::to_string(answer.as<protocol::QueueOpened>()->depth));
    try {
      mapping_.emplace(RingFiles{answer.fds[0].get(), answer.fds[1].get(), answer.fds[2].get()}, depth);
    } catch (const Error& error) {
      socket_.broken(error.message());
    }
    doorbell_ = std::move(answer.fds[3]);
    wake_ = std::move(answer.fds[4]);
    for (const UniqueFd* fd : {&doorbell_, &wake_}) {  // neither side may be held up by the other
      const int flags = fcntl(fd->get(), F_GETFL);
      if (flags < 0 || (flags & O_ACCMODE) != O_RDWR || fcntl(fd->get(), F_SETFL, flags | O_NONBLOCK) != 0)
        socket_.broken("a queue came without its eventfds");
    }
    ring_.emplace(mapping_->pages(), doorbell_.get(), wake_.get(), socket_.fd());
  }

  std::string name_, device_, fingerprint_;
  bool comes_back_;
  SessionSocket socket_;
  std::optional<RingMapping> mapping_;
  UniqueFd doorbell_, wake_;
  std::optional<ClientRing> ring_;
};

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

// Nobody listens there, now.
bool is_absent(int error) { return error == ENOENT || error == ECONNREFUSED || error == ENOTDIR; }

[[noreturn]] void refuse(const std::string& path, int error) {
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

// Null when nobody listens there for as long as `patience`.
std::unique_ptr<Transport> reach(const std::string& path, const SessionOptions& options, std::uint64_t patience,
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
      return std::make_unique<UnixTransport>(std::move(socket), "unix:" + path, options, true);
    } catch (const Error& refused) {
      if (refused.code() == Code::device_lost ? leaving.wait() : refused.code() == Code::again && backoff.wait())
        continue;
      throw;
    }
  }
}

}  // namespace

std::unique_ptr<Transport> open_unix(const std::string& path, const SessionOptions& options, std::uint64_t patience) {
  int error = 0;
  std::unique_ptr<Transport> transport = reach(path, options, patience, error);
  if (!transport) refuse(path, error);
  return transport;
}

std::unique_ptr<Transport> open_fd(int fd, const SessionOptions& options) {
  return std::make_unique<UnixTransport>(UniqueFd(fd), "fd:" + std::to_string(fd), options, false);
}

std::unique_ptr<Transport> open_daemon(const SessionOptions& options) {
  const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
  for (const std::string& folder : {std::string(runtime != nullptr ? runtime : ""), std::string("/run")}) {
    const std::string path = folder + "/mlaccel/mld.sock";
    struct stat status {};
    if (folder.empty() || stat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) continue;
    int error = 0;
    if (std::unique_ptr<Transport> transport = reach(path, options, 0, error)) return transport;
    if (!is_absent(error)) refuse(path, error);
  }
  return nullptr;
}

}  // namespace ml::transport
