#include "daemon/admin/admin_server.h"

#include "daemon/admin/connections.h"
#include "daemon/admin/service.h"
#include "daemon/config/config.h"

namespace ml::daemon {

struct AdminServer::State {
  State(AdminParts parts, DaemonFacts facts)
      : operations(parts, std::move(facts)),
        calls(parts.loop),
        connections({}, parts.config.admin_group, [this](const Peer& caller, bool crowded) {
          return make_service(caller, calls, crowded ? nullptr : &operations);
        }) {}

  Operations operations;
  Calls calls;
  Connections connections;
};

AdminServer::AdminServer(AdminParts parts, DaemonFacts facts)
    : state_(std::make_unique<State>(parts, std::move(facts))) {}

AdminServer::~AdminServer() { stop(); }

void AdminServer::listen(std::vector<transport::UniqueFd> sockets) { state_->connections.listen(std::move(sockets)); }

void AdminServer::stop() {
  // First, so that no server waits for an answer of this thread.
  state_->calls.stop();
  state_->connections.stop();
}

}  // namespace ml::daemon
