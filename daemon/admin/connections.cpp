#include "daemon/admin/connections.h"

#include <fcntl.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <malloc.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <map>
#include <system_error>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/admin/failure.h"
#include "ml/error.h"

namespace ml::daemon {

namespace {

using transport::UniqueFd;

// What one caller's half-sent calls can make mld hold: gRPC keeps to the quota by ending calls and connections.
constexpr std::size_t kMemory = 32 << 20;
constexpr int kLargestMessage = 256 << 10;  // a job's specification and what goes with it, and room
constexpr int kStreams = 16;                // calls at once on one connection
constexpr int kIdleMs = 15 * 60 * 1000;
constexpr int kPauseMs = 100;  // without fds or memory to accept with
// What calls have freed stays in the gaps of the heap, for ever if nobody asks: it is looked at so often while there
// are connections, and once behind the last.
constexpr auto kTidy = std::chrono::seconds(1);
constexpr std::size_t kGaps = 16 << 20;

std::string system_error() { return std::generic_category().message(errno); }

void tidy_heap() {
  if (mallinfo2().fordblks > kGaps) malloc_trim(0);
}

}  // namespace

// What the thread that accepts knows; nobody else touches it while that thread runs.
class Connections::Acceptor {
 public:
  Acceptor(ConnectionLimits limits, const std::string& admin_group, MakeService make_service)
      : limits_(limits),
        admin_group_(group_id(admin_group)),
        make_service_(std::move(make_service)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!epoll_ || !stop_) throw Error(Code::io, "can't wait for connections: " + system_error(), "admin socket");
    watch(stop_.get(), EPOLLIN);
  }

  void listen_on(std::vector<UniqueFd> sockets) {
    listeners_ = std::move(sockets);
    for (const UniqueFd& socket : listeners_) fcntl(socket.get(), F_SETFL, fcntl(socket.get(), F_GETFL) | O_NONBLOCK);
    accept_again();
  }
  void ask_to_stop() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t rung = write(stop_.get(), &one, sizeof one);
  }
  void run();

 private:
  // One caller. Whoever differs in any of these has a server object of its own.
  using Who = std::tuple<uid_t, gid_t, bool /*admin*/, bool /*crowded*/>;
  struct Server {
    std::uint64_t id;  // a caller's next server has another one
    std::unique_ptr<grpc::Service> service;
    std::unique_ptr<grpc::Server> server;
    std::size_t connections = 0;
    std::uint64_t used = 0;  // when last, by clock_
  };
  struct Connection {
    UniqueFd watched;  // a duplicate: gRPC owns and closes the socket itself, and its hang-up is seen here
    Who who;
    std::uint64_t server;
  };

  void watch(int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
      throw Error(Code::io, "can't watch a connection: " + system_error(), "admin socket");
  }
  void accept_again() {
    try {
      for (const UniqueFd& socket : listeners_) watch(socket.get(), EPOLLIN);
    } catch (const Error&) {
      pause_accepting();
    }
  }
  void pause_accepting();
  void accept_all();
  void serve(UniqueFd socket);
  Server& server_of(const Who& who, const Peer& peer);
  void end_server(std::map<Who, Server>::iterator server);
  void make_room();
  void hung_up(int fd);

  const ConnectionLimits limits_;
  const std::optional<gid_t> admin_group_;
  const MakeService make_service_;
  UniqueFd epoll_, stop_;
  std::vector<UniqueFd> listeners_;
  bool paused_ = false;  // accepting
  bool tidied_ = true;   // behind the last connection
  std::chrono::steady_clock::time_point tidied_at_{};
  std::uint64_t clock_ = 0;  // counts connections and servers
  std::map<Who, Server> servers_;
  std::map<uid_t, std::size_t> per_uid_;
  std::unordered_map<int, Connection> connections_;
};

void Connections::Acceptor::run() {
  std::array<epoll_event, 64> events;
  for (bool stopping = false; !stopping;) {
    const int patience = paused_ ? kPauseMs : tidied_ ? -1 : static_cast<int>(std::chrono::milliseconds(kTidy).count());
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), patience);
    if (const auto now = std::chrono::steady_clock::now(); !tidied_ && now - tidied_at_ >= kTidy) {
      tidy_heap();
      tidied_at_ = now;
      tidied_ = connections_.empty();
    }
    if (std::exchange(paused_, false)) accept_again();
    bool accepts = false;
    // Those that went first, so that they don't count against those that come.
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == stop_.get()) {
        stopping = true;
      } else if (connections_.contains(fd)) {
        hung_up(fd);
      } else {
        accepts = true;
      }
    }
    if (accepts && !stopping) accept_all();
  }
  listeners_.clear();
  while (!servers_.empty()) end_server(servers_.begin());
  connections_.clear();
}

void Connections::Acceptor::accept_all() {
  for (std::size_t i = 0; i < listeners_.size() && !paused_;) {
    UniqueFd socket(accept4(listeners_[i].get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) pause_accepting();
      ++i;
      continue;
    }
    try {
      serve(std::move(socket));
    } catch (...) {
      spdlog::warn("an admin connection was closed: {}", caught_failure().error.what());
    }
  }
}

// No fds or no memory: whoever waits in the queue goes on waiting a little.
void Connections::Acceptor::pause_accepting() {
  spdlog::warn("the admin socket can't accept: {}", system_error());
  for (const UniqueFd& socket : listeners_) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket.get(), nullptr);
  paused_ = true;
}

void Connections::Acceptor::serve(UniqueFd socket) {
  const Peer peer = peer_of(socket.get(), admin_group_);
  const auto held = per_uid_.find(peer.uid);
  const std::size_t of_uid = held == per_uid_.end() ? 0 : held->second;
  if (connections_.size() >= limits_.total || of_uid >= 2 * limits_.per_uid) {
    spdlog::warn("an admin connection of user {} (process {}) was closed: it has {}, all have {}", peer.uid, peer.pid,
                 of_uid, connections_.size());
    return;
  }
  const Who who{peer.uid, peer.gid, peer.admin, of_uid >= limits_.per_uid};
  Server& server = server_of(who, peer);
  UniqueFd watched(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!watched) throw Error(Code::io, "can't duplicate it: " + system_error(), "admin socket");
  const int fd = watched.get();
  watch(fd, EPOLLRDHUP);
  connections_.emplace(fd, Connection{std::move(watched), who, server.id});
  ++per_uid_[peer.uid];
  tidied_ = false;
  ++server.connections;
  server.used = ++clock_;
  grpc::AddInsecureChannelFromFd(server.server.get(), socket.release());
}

Connections::Acceptor::Server& Connections::Acceptor::server_of(const Who& who, const Peer& peer) {
  if (const auto found = servers_.find(who); found != servers_.end()) return found->second;
  make_room();
  Server made{++clock_, {}, {}};
  made.service = make_service_(peer, std::get<3>(who));
  grpc::ServerBuilder builder;
  builder.RegisterService(made.service.get());
  builder.SetMaxReceiveMessageSize(kLargestMessage);
  builder.SetResourceQuota(grpc::ResourceQuota("admin").Resize(kMemory));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreams);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleMs);
  made.server = builder.BuildAndStart();
  if (!made.server) throw Error(Code::internal, "gRPC can't start a server", "admin socket");
  return servers_.emplace(who, std::move(made)).first->second;
}

void Connections::Acceptor::make_room() {
  while (servers_.size() >= limits_.servers) {
    auto oldest = servers_.begin();
    for (auto it = servers_.begin(); it != servers_.end(); ++it) {
      const auto rank = [](const Server& server) { return std::pair(server.connections > 0, server.used); };
      if (rank(it->second) < rank(oldest->second)) oldest = it;
    }
    end_server(oldest);
  }
}

void Connections::Acceptor::end_server(std::map<Who, Server>::iterator server) {
  // Its connections get a hang-up and are forgotten by that.
  server->second.server->Shutdown(std::chrono::system_clock::now());
  servers_.erase(server);
}

void Connections::Acceptor::hung_up(int fd) {
  const auto found = connections_.find(fd);
  const Who who = found->second.who;
  const std::uint64_t id = found->second.server;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  connections_.erase(found);
  const auto held = per_uid_.find(std::get<0>(who));
  if (--held->second == 0) per_uid_.erase(held);
  const auto server = servers_.find(who);
  if (server != servers_.end() && server->second.id == id) --server->second.connections;
}

Connections::Connections(ConnectionLimits limits, const std::string& admin_group, MakeService make_service)
    : acceptor_(std::make_unique<Acceptor>(limits, admin_group, std::move(make_service))) {}

Connections::~Connections() { stop(); }

void Connections::listen(std::vector<UniqueFd> sockets) {
  acceptor_->listen_on(std::move(sockets));
  thread_ = std::thread([this] { acceptor_->run(); });
}

void Connections::stop() {
  if (!thread_.joinable()) return;
  acceptor_->ask_to_stop();
  thread_.join();
}

}  // namespace ml::daemon
