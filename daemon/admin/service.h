// The gRPC service of one caller. Included only where gRPC's headers are needed.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "daemon/admin/call.h"
#include "daemon/admin/operations.h"

namespace ml::daemon {

// Every call of it is `caller`'s. Without operations every call is refused: its user has too many connections.
std::unique_ptr<grpc::Service> make_service(const Peer& caller, Calls& calls, Operations* operations);

}  // namespace ml::daemon
