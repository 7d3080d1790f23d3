// Who connects to admin.sock, and the gRPC server of each. Included only where gRPC's headers are needed.
#pragma once

#include <grpcpp/impl/service_type.h>
#include <grpcpp/server.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "daemon/sessions/sessions.h"
#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

struct ConnectionLimits {
  // Of one uid. Beyond it a connection is served by a service that refuses every call; beyond twice as many it is
  // closed, like what goes beyond `total`.
  std::size_t per_uid = 64;
  std::size_t total = 4096;
  std::size_t servers = 64;  // beyond it those without connections end, the least recently used first, then others
};

class Connections {
 public:
  // The service of one caller (its pid is that of its first connection); `crowded`: it has too many connections. Called
  // from the thread that accepts.
  using MakeService = std::function<std::unique_ptr<grpc::Service>(const Peer& caller, bool crowded)>;

  Connections(ConnectionLimits limits, const std::string& admin_group, MakeService make_service);
  ~Connections();
  Connections(const Connections&) = delete;

  void listen(std::vector<transport::UniqueFd> sockets);  // once
  // Ends every connection; calls under way have to be answered already, or be answered by other threads.
  void stop();

 private:
  class Acceptor;
  std::unique_ptr<Acceptor> acceptor_;
  std::thread thread_;
};

}  // namespace ml::daemon
