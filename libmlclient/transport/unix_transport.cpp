// The worker in another process, reached through mld alone: queues and memory are memfds.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <optional>

#include "libmlclient/transport/daemon_address.h"
#include "libmlclient/transport/daemon_session.h"
#include "libmlclient/transport/ring_mapping.h"

namespace ml::transport {
namespace {

using protocol::Kind;

class UnixTransport final : public DaemonTransport {
 public:
  UnixTransport(std::unique_ptr<DaemonSession> session, const SessionOptions& options, bool comes_back)
      : DaemonTransport(std::move(session)), comes_back_(comes_back) {
    open_queue(options.depth != 0 ? options.depth : kDepth);
  }

  ClientRing& ring() override { return *ring_; }
  std::shared_ptr<MemorySource> memory() override { return sealed_memory(); }
  bool comes_back() const override { return comes_back_; }

 private:
  void open_queue(std::uint32_t depth) {
    SessionSocket& socket = session_->socket();
    protocol::OpenQueue request{};
    request.depth = depth;
    Packet answer = socket.ask<protocol::QueueOpened>(request, Kind::open_queue, Kind::queue, 5);
    if (answer.as<protocol::QueueOpened>()->depth != depth)
      socket.broken("a queue of depth " + std::to_string(depth) + " was asked for, it has " +
                    std::to_string(answer.as<protocol::QueueOpened>()->depth));
    try {
      mapping_.emplace(RingFiles{answer.fds[0].get(), answer.fds[1].get(), answer.fds[2].get()}, depth);
    } catch (const Error& error) {
      socket.broken(error.message());
    }
    doorbell_ = std::move(answer.fds[3]);
    wake_ = std::move(answer.fds[4]);
    for (const UniqueFd* fd : {&doorbell_, &wake_}) {  // neither side may be held up by the other
      const int flags = fcntl(fd->get(), F_GETFL);
      if (flags < 0 || (flags & O_ACCMODE) != O_RDWR || fcntl(fd->get(), F_SETFL, flags | O_NONBLOCK) != 0)
        socket.broken("a queue came without its eventfds");
    }
    ring_.emplace(mapping_->pages(), doorbell_.get(), wake_.get(), socket.fd());
  }

  bool comes_back_;
  std::optional<RingMapping> mapping_;
  UniqueFd doorbell_, wake_;
  std::optional<ClientRing> ring_;
};

}  // namespace

std::unique_ptr<Transport> make_unix(std::unique_ptr<DaemonSession> session, const SessionOptions& options,
                                     bool comes_back) {
  return std::make_unique<UnixTransport>(std::move(session), options, comes_back);
}

std::unique_ptr<Transport> open_unix(const std::string& path, const SessionOptions& options, std::uint64_t patience) {
  return reach(path, patience, [&](UniqueFd connected) {
    return make_unix(std::make_unique<DaemonSession>(std::move(connected), "unix:" + path, options, 0), options, true);
  });
}

std::unique_ptr<Transport> open_fd(int fd, const SessionOptions& options) {
  return make_unix(std::make_unique<DaemonSession>(UniqueFd(fd), "fd:" + std::to_string(fd), options, 0), options,
                   false);
}

std::unique_ptr<Transport> open_daemon(const SessionOptions& options) {
  const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
  for (const std::string& folder : {std::string(runtime != nullptr ? runtime : ""), std::string("/run")}) {
    const std::string path = folder + "/mlaccel/mld.sock";
    struct stat status {};
    if (folder.empty() || stat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) continue;
    const auto make = [&](UniqueFd connected) {
      return make_preferred(
          std::make_unique<DaemonSession>(std::move(connected), "unix:" + path, options, protocol::kFeatureKernel),
          path, options);
    };
    int error = 0;
    if (std::unique_ptr<Transport> transport = reach(path, 0, make, error)) return transport;
    if (!is_absent(error)) refuse_connecting(path, error);
  }
  return nullptr;
}

}  // namespace ml::transport
