// One worker process as mld sees it: its socket, requests under way, and its end.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/config/config.h"
#include "daemon/loop/loop.h"
#include "daemon/process/spawn.h"
#include "daemon/workers/worker_protocol.h"
#include "libmlclient/transport/seqpacket.h"
#include "ml/error.h"

namespace ml::daemon {

struct WorkerSpec {
  std::string name;                  // "serving cpu0", "job 12"
  std::vector<std::string> devices;  // names; several for a gang of CPU devices, whose core sets are joined
  std::string backend;
  worker_protocol::Role role = worker_protocol::Role::serving;
  std::vector<int> cpus;
  std::uint64_t memory_bytes = 0;
  std::uint64_t poll_ms = DeviceConfig::kPollByCpus;
  std::vector<int> preemption_fds;  // memfds of the PreemptionPage of each device
  int kernel_fd = -1;               // the worker's file of the kernel module, if its device has a node there
};

class WorkerProcess {
 public:
  // Gets the answer, or why there is none: what the worker refused, or device_lost when it died. Called once, from the
  // loop, never from within request().
  using Answer = std::function<void(transport::Packet* answer, const Error* error)>;

  // Kills it. `died` isn't called; what it had not answered gets device_lost, later, from the loop.
  virtual ~WorkerProcess() = default;
  virtual const WorkerSpec& spec() const = 0;
  virtual pid_t pid() const = 0;
  virtual std::uint32_t generation() const = 0;  // counts the workers that this device has had
  virtual bool ready() const = 0;
  virtual const std::string& fingerprint() const = 0;  // once ready

  // Fills in the request number and sends it; requests made before READY wait for it. Fds are duplicated by the kernel;
  // the caller closes its own.
  virtual void request(std::span<std::byte> message, std::string_view text, std::span<const int> fds,
                       Answer answer) = 0;
  template <class T>
  void request(T message, std::span<const int> fds, Answer answer, std::string_view text = {}) {
    request(std::as_writable_bytes(std::span(&message, 1)), text, fds, std::move(answer));
  }
  // Whose work it is doing, or was doing when it died.
  virtual std::vector<std::uint64_t> running_sessions() const = 0;
  virtual void kill() = 0;
};

struct WorkerEvents {
  std::function<void()> ready;
  // Once; "killed by signal 9 (Killed)". Every request has had its answer by then; it may destroy the WorkerProcess.
  std::function<void(const std::string& how)> died;
  std::function<void(const worker_protocol::SessionEnded& ended, std::string_view why)> session_ended;
};
// `program` is the path of mld-worker. Throws io when it can't be started. To be called on the loop's thread, which has
// to live as long as the worker (spawn.h).
std::unique_ptr<WorkerProcess> start_worker(Loop& loop, const std::string& program, const WorkerSpec& spec,
                                            const std::optional<Identity>& identity, std::uint32_t generation,
                                            WorkerEvents events);

}  // namespace ml::daemon
