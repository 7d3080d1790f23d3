// The worker in another process, reached through the kernel module: queue and memory come from the device's node, which
// this process opened itself. The handshake is mld's all the same, which gives both to the worker.
#include <fcntl.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "libmlclient/transport/daemon_address.h"
#include "libmlclient/transport/daemon_session.h"
#include "libmlclient/transport/kernel_node.h"
#include "libmlclient/transport/ring_mapping.h"

namespace ml::transport {
namespace {

using protocol::Kind;

template <std::size_t N>
std::string_view text_of(const char (&field)[N]) {
  return {field, strnlen(field, N)};
}

UniqueFd make_eventfd() {
  UniqueFd made(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!made)
    throw Error(errno == EMFILE || errno == ENFILE ? Code::no_space : Code::io,
                std::string("eventfd: ") + std::strerror(errno));
  return made;
}

class KernelTransport final : public DaemonTransport {
 public:
  KernelTransport(std::unique_ptr<DaemonSession> session, const std::string& name, std::shared_ptr<KernelNode> node,
                  std::string path, const SessionOptions& options)
      : DaemonTransport(std::move(session), name),
        path_(std::move(path)),
        node_(std::move(node)),
        wake_(make_eventfd()) {
    open_queue(options.depth != 0 ? options.depth : kDepth);
  }
  ~KernelTransport() override {
    if (queue_.context != 0) node_->destroy(queue_);
  }
  KernelTransport(const KernelTransport&) = delete;
  KernelTransport& operator=(const KernelTransport&) = delete;

  ClientRing& ring() override { return *ring_; }
  std::shared_ptr<MemorySource> memory() override { return node_memory(node_); }
  std::uint32_t add_arena(void* base, std::uint64_t bytes, int fd) override {
    // A memfd of a time without a node goes the way that memfds go.
    if (fcntl(fd, F_GET_SEALS) >= 0) return DaemonTransport::add_arena(base, bytes, fd);
    return session_->add_arena(Kind::add_kernel_arena, whole_pages(bytes), fd);
  }
  bool comes_back() const override { return true; }
  std::unique_ptr<Transport> open_again(const SessionOptions& options, std::uint64_t patience) override;

 private:
  void open_queue(std::uint32_t depth) {
    SessionSocket& socket = session_->socket();
    // Other transports set executions no limit, so the module's default of seconds would be one for long ones.
    queue_ = node_->make_queue(depth, wake_.get(), MLACCEL_TIMEOUT_MAX_NS);
    try {
      mapping_.emplace(KernelQueueFile{queue_.fd.get()}, depth);
      protocol::OpenKernelQueue request{};
      request.depth = depth;
      const int fd = queue_.fd.get();
      const Packet answer =
          socket.ask<protocol::QueueOpened>(request, Kind::open_kernel_queue, Kind::queue, 0, {}, {&fd, 1});
      if (answer.as<protocol::QueueOpened>()->depth != depth)
        socket.broken("a queue of depth " + std::to_string(depth) + " was handed over, it has " +
                      std::to_string(answer.as<protocol::QueueOpened>()->depth));
      queue_.fd.reset();
      ring_.emplace(mapping_->pages(), Doorbell::of_kernel(node_->fd(), queue_.number), wake_.get(), socket.fd());
    } catch (...) {
      node_->destroy(queue_);
      throw;
    }
  }

  std::string path_;  // of the daemon's socket
  std::shared_ptr<KernelNode> node_;
  UniqueFd wake_;
  NodeQueue queue_;
  std::optional<RingMapping> mapping_;
  std::optional<ClientRing> ring_;
};

// The node that the session tells; throws when it isn't that device's.
std::shared_ptr<KernelNode> node_of(const DaemonSession& session) {
  auto node = std::make_shared<KernelNode>(*session.minor());
  const drm_mlaccel_dev_query query = node->query();
  if (text_of(query.name) != session.device())
    throw Error(Code::invalid_argument, "'" + node->path() + "' is the device '" + std::string(text_of(query.name)) +
                                            "', and the daemon means '" + session.device() + "'");
  if (query.generation != session.generation() || query.state != MLACCEL_DEVICE_RUNNING)
    throw Error(Code::device_lost, "the worker of '" + session.device() + "' was replaced meanwhile");
  return node;
}

std::unique_ptr<Transport> make_on(std::shared_ptr<KernelNode> node, std::unique_ptr<DaemonSession> session,
                                   const std::string& path, const SessionOptions& options) {
  const std::string name = "kernel:" + std::to_string(*session->minor());
  return std::make_unique<KernelTransport>(std::move(session), name, std::move(node), path, options);
}

[[noreturn]] void no_kernel(const DaemonSession& session, const std::string& path) {
  throw Error(Code::unsupported,
              "the daemon at '" + path + "' does not use the kernel module for '" + session.device() + "'", {},
              "its log says why; MLACCEL=unix:" + path + " does without");
}

std::unique_ptr<DaemonSession> greet(UniqueFd connected, const std::string& path, const SessionOptions& options) {
  return std::make_unique<DaemonSession>(std::move(connected), "unix:" + path, options, protocol::kFeatureKernel);
}

// The daemon may have another node by now, so it is asked and not the node.
std::unique_ptr<Transport> KernelTransport::open_again(const SessionOptions& options, std::uint64_t patience) {
  return reach(path_, patience, [&](UniqueFd connected) {
    return make_kernel(greet(std::move(connected), path_, options), path_, options);
  });
}

}  // namespace

std::unique_ptr<Transport> make_kernel(std::unique_ptr<DaemonSession> session, const std::string& path,
                                       const SessionOptions& options) {
  if (!session->minor()) no_kernel(*session, path);
  std::shared_ptr<KernelNode> node = node_of(*session);
  return make_on(std::move(node), std::move(session), path, options);
}

std::unique_ptr<Transport> make_preferred(std::unique_ptr<DaemonSession> session, const std::string& path,
                                          const SessionOptions& options) {
  std::shared_ptr<KernelNode> node;
  if (session->minor()) {
    try {
      node = node_of(*session);
    } catch (const Error& error) {
      if (error.code() == Code::device_lost) throw;  // so is the session, and a new one will do
    }
  }
  if (!node) return make_unix(std::move(session), options, true);
  return make_on(std::move(node), std::move(session), path, options);
}

std::unique_ptr<Transport> open_kernel(std::uint32_t minor, const SessionOptions& options) {
  const std::string name = "kernel:" + std::to_string(minor);
  drm_mlaccel_dev_query query{};
  {
    const KernelNode node(minor);
    query = node.query();
  }
  const std::string device(text_of(query.name)), path(text_of(query.socket));
  if (!options.device.empty() && options.device != device && options.device != text_of(query.backend))
    throw Error(Code::invalid_argument,
                "'" + name + "' is the device '" + device + "', and '" + options.device + "' was asked for", {},
                "leave SessionOptions::device and MLACCEL_DEVICE empty, or choose another node");
  if (path.empty()) {
    if (query.state == MLACCEL_DEVICE_STOPPED)
      throw Error(Code::again, "the device '" + device + "' of '" + name + "' has no worker at the moment");
    throw Error(Code::not_found, "'" + name + "' does not say where its daemon listens", {},
                "set MLACCEL=unix:PATH to its socket");
  }
  SessionOptions wanted = options;
  wanted.device = device;
  return reach(path, 0, [&](UniqueFd connected) {
    std::unique_ptr<DaemonSession> session = greet(std::move(connected), path, wanted);
    if (session->minor() && *session->minor() != minor)
      throw Error(Code::device_lost, "'" + name + "' is of another life of the daemon at '" + path + "'");
    return make_kernel(std::move(session), path, wanted);
  });
}

}  // namespace ml::transport
