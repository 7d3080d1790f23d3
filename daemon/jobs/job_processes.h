// One run of a job: its worker, which has the devices, and mld-job, which is a client of it. Both end with this.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/config/config.h"
#include "daemon/jobs/cgroups.h"
#include "daemon/jobs/job_protocol.h"
#include "daemon/sessions/sessions.h"
#include "daemon/store/store.h"
#include "daemon/workers/devices.h"

namespace ml::daemon {

// How a run ended.
struct JobEnd {
  enum class How { done, failed, gave_way, crashed };
  How how = How::crashed;
  int exit_code = 0;
  std::string text;  // failed: what mld-job said; crashed: "mld-job was killed by signal 9", "the worker was ..."
};

struct JobEvents {
  std::function<void(const job_protocol::Progress&)> progress;
  std::function<void(std::string_view text)> output;  // of mld-job
  std::function<void(WorkerProcess&)> worker_gone;    // it has died, or is about to be ended
  // Once, from the loop, when nothing of it is left; it may destroy the JobProcesses.
  std::function<void(const JobEnd&)> ended;
};

class JobProcesses {
 public:
  // Starts both. Throws what keeps them from starting.
  JobProcesses(Loop& loop, const Config& config, Sessions& sessions, const Cgroups& cgroups, const StoredJob& job,
               const std::vector<Device*>& devices, JobEvents events);
  ~JobProcesses();  // kills them
  JobProcesses(const JobProcesses&) = delete;
  JobProcesses& operator=(const JobProcesses&) = delete;

  // Asks mld-job to write a checkpoint and end; kills it after the shortest `grace_ns` of all calls.
  void stop(job_protocol::StopReason reason, std::uint64_t grace_ns);
  void kill();
  WorkerProcess* worker() const;  // null when it has died

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace ml::daemon
