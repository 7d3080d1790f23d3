// mld's end of admin.sock, where mlctl calls (admin.proto).
//
// A thread of its own accepts, asks the socket who the caller is, and hands the connection to a gRPC server that serves
// exactly that caller: one server object per (uid, gid, admin), so no call can be taken for another user's. gRPC's
// threads only pass calls on: every call is carried out on the loop's thread, where it meets the rest of mld.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

class Devices;
class Jobs;
class Limits;
class Loop;
class Registry;
class Sessions;
class Store;
struct Config;

// What calls act on; all of it outlives the server.
struct AdminParts {
  Loop& loop;
  const Config& config;
  Limits& limits;
  Devices& devices;
  Sessions& sessions;
  Registry& registry;
  Jobs& jobs;
  Store& store;
};

// What only the daemon's main function knows.
struct DaemonFacts {
  std::string version;
  std::uint64_t started_at;                            // CLOCK_REALTIME ns
  std::function<bool()> draining;                      // after SIGTERM
  std::function<std::vector<std::string>()> problems;  // what was set aside or refused at start
};

class AdminServer {
 public:
  AdminServer(AdminParts parts, DaemonFacts facts);
  ~AdminServer();  // stop()

  // Serves bound and listening SOCK_STREAM unix sockets. Once.
  void listen(std::vector<transport::UniqueFd> sockets);
  // On the loop's thread: takes no more connections, answers every call under way with "mld is stopping", and returns
  // when no gRPC thread uses anything here any more.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ml::daemon
