// Training jobs: kept in the store, started on devices that the scheduler grants, each as an mld-job process of its
// owner with a worker of its own, and started again from their last checkpoint after anything but their own failure.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/limits/limits.h"
#include "daemon/loop/loop.h"
#include "daemon/sessions/sessions.h"
#include "daemon/store/store.h"
#include "daemon/workers/devices.h"

namespace ml::daemon {

// queued -> running -> done | failed | cancelled; running -> stopping -> queued (gave way) | paused; paused -> queued.
enum class JobState { queued, running, stopping, paused, done, failed, cancelled };
std::string_view job_state_name(JobState state);

struct JobView : StoredJob {
  std::vector<std::string> on;  // devices that it has
  std::string why;              // while it waits: the scheduler's sentence
};

// A job that has its devices and whose worker lives.
struct RunningJob {
  std::uint64_t id;
  WorkerProcess* worker;
  std::vector<std::string> devices;
};

class Jobs {
 public:
  // How often in a row a job may die (its process, its worker) without having written a checkpoint in between.
  static constexpr std::uint32_t kFailuresInARow = 5;
  // Ended jobs that are remembered of each user.
  static constexpr std::size_t kEndedKept = 200;

  Jobs(Loop& loop, const Config& config, Limits& limits, Devices& devices, Sessions& sessions, Store& store);
  ~Jobs();
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  // What the store remembers: jobs that ran are queued again.
  void recover();
  // Throws invalid_argument, denied (a priority above 0, unless by an admin), no_space (limits) or not_found (no such
  // devices could ever hold it).
  std::uint64_t submit(const Peer& owner, StoredJob job);
  std::vector<JobView> list(const Peer& who) const;
  JobView show(std::uint64_t id, const Peer& who) const;  // throws not_found, also for what `who` may not see
  std::string why(std::uint64_t id, const Peer& who) const;
  // Each throws not_found, or invalid_argument when the job's state does not allow it.
  void cancel(std::uint64_t id, const Peer& who);
  void pause(std::uint64_t id, const Peer& who);
  void resume(std::uint64_t id, const Peer& who);
  // Bytes of the log from `offset`, at most `limit`; what has been cut off in front is skipped (offset moves).
  struct LogPart {
    std::uint64_t offset;
    std::string bytes;
    bool ended;  // the job has, and nothing follows
  };
  LogPart log(std::uint64_t id, std::uint64_t offset, std::size_t limit, const Peer& who) const;
  std::vector<RunningJob> running() const;
  // Why jobs have no cgroups of their own; empty when they have, or in --user mode.
  std::string cgroups_missing() const;

  // SIGTERM: every job writes its checkpoint and is queued again; `drained` is called when all have ended, those that
  // took longer than the configuration allows by force.
  void drain(std::function<void()> drained);
  void device_changed();  // drained, came back: look again

  // A job's worker has died, or is about to be ended: whoever knows it forgets it. (Sessions hear of it by themselves.)
  std::function<void(WorkerProcess&)> on_worker_gone;
  // A job has ended: done, failed or cancelled. For the log.
  std::function<void(const JobView&)> on_ended;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ml::daemon
