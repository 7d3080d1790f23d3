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
  std::string why;              // the scheduler's sentence, while it waits
};

class Jobs {
 public:
  Jobs(Loop& loop, const Config& config, Limits& limits, Devices& devices, Sessions& sessions, Store& store);
  ~Jobs();

  // What the store remembers: jobs that ran are queued again.
  void recover();
  // Throws invalid_argument, no_space (limits) or not_found (no such device could ever hold it).
  std::uint64_t submit(const Peer& owner, StoredJob job);
  std::vector<JobView> list(const Peer& who) const;
  JobView show(std::uint64_t id, const Peer& who) const;  // throws not_found, also for what `who` may not see
  std::string why(std::uint64_t id, const Peer& who) const;
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

  // SIGTERM: every job writes its checkpoint and is requeued; `drained` is called when all have ended or time is up.
  void drain(std::function<void()> drained);
  void device_changed();  // drained, came back: look again

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ml::daemon
