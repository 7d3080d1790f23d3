// The clients: their sockets, what they hold, and the worker that serves them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/limits/limits.h"
#include "daemon/loop/loop.h"
#include "daemon/workers/devices.h"
#include "libmlclient/transport/session_protocol.h"

namespace ml::daemon {

class Registry;

struct Peer {
  uid_t uid;
  gid_t gid;
  pid_t pid;
  bool admin;  // root, mld's own uid, or of the admin group
};
// The number of a group; nothing when there is no such group. May ask a directory service: once, when mld starts.
std::optional<gid_t> group_id(const std::string& name);
// SO_PEERCRED and SO_PEERGROUPS of a connected socket. Throws io.
Peer peer_of(int socket, std::optional<gid_t> admin_group);

// What is shown of a session.
struct SessionInfo {
  std::uint64_t id;
  Peer peer;
  std::string client;  // the program's name
  std::string device;
  std::string purpose;  // "interactive", "serving", "job 12"
  std::uint64_t queues, arenas, arena_bytes;
  std::uint64_t connected_at;   // CLOCK_REALTIME ns
  std::uint64_t kernel_client;  // its file's number in the kernel module (drm-client-id); 0: it has no queue there
};

// A session of the process of a job; what it says about the job itself goes over a socket of its own
// (daemon/jobs/job_protocol.h).
struct JobSession {
  std::uint64_t job;
  WorkerProcess* worker;
  std::string device;
  std::function<void()> on_closed;
};

class Sessions {
 public:
  Sessions(Loop& loop, const Config& config, Limits& limits, Devices& devices, Registry& registry);
  ~Sessions();
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;

  // Accepts from it. The socket is listening already, and does not block.
  void listen(transport::UniqueFd socket);
  void stop_listening();  // SIGTERM: nobody new; the others go on
  // The socket of a job's process, whose peer is known. Answers the session's id.
  std::uint64_t adopt(transport::UniqueFd socket, const Peer& peer, JobSession job);
  std::vector<SessionInfo> list() const;
  // Ends a session as if its client had gone. Throws not_found, also for a session that `who` may not see.
  void kick(std::uint64_t session, const Peer& who);

  // What workers report, serving ones and those of jobs -----------------------------------------------------------

  // Its sessions' queues are lost. To be called while running_sessions() is valid.
  void worker_died(WorkerProcess& worker, const std::string& how);
  // A client broke the rules in its memory.
  void session_ended(const worker_protocol::SessionEnded& ended, std::string_view why);
  // A device has a worker again: clients that wait for one go on.
  void device_ready();

  // After a reload: workers learn the weights of their users.
  void limits_changed();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ml::daemon
