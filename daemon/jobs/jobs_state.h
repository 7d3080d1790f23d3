// What Jobs knows: each job with what is stored of it, and what only counts while mld lives.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "daemon/jobs/job_log.h"
#include "daemon/jobs/job_processes.h"
#include "daemon/jobs/jobs.h"
#include "daemon/scheduler/scheduler.h"
#include "daemon/scheduler/usage.h"

namespace ml::daemon {

std::uint64_t monotonic_ns();
std::uint64_t realtime_ns();

struct Jobs::State {
  // What becomes of a job that has been asked to stop.
  enum class After { queue, pause, cancel };
  struct Entry {
    StoredJob stored;
    JobState state = JobState::queued;
    std::unique_ptr<JobProcesses> processes;
    std::vector<std::string> on;
    After after = After::queue;
    bool preempted = false;
    std::uint64_t running_since = 0;  // ns, monotonic, as the next three
    std::uint64_t accounted_until = 0;
    std::uint64_t not_before = 0;  // after a failure
    std::uint64_t stored_at = 0;
    bool unsaved = false;  // the store refused the last change
    std::uint32_t failures_in_a_row = 0;
    std::uint64_t checkpoint_at_failure = 0;
    std::string why;
    std::unique_ptr<JobLog> log;
  };

  State(Loop& with, const Config& settings, Limits& all_limits, Devices& all_devices, Sessions& all_sessions,
        Store& storage)
      : loop(with),
        config(settings),
        limits(all_limits),
        devices(all_devices),
        sessions(all_sessions),
        store(storage) {}
  ~State();

  // jobs.cpp
  Entry& find(std::uint64_t id, const Peer& who);
  static bool may_see(const Entry& entry, const Peer& who) { return who.admin || who.uid == entry.stored.uid; }
  std::string folder(std::uint64_t id) const { return config.state_directory + "/jobs/" + std::to_string(id); }
  JobLog& log_of(Entry& entry);
  void note(Entry& entry, const std::string& text);  // a line of mld's in the job's log
  JobView view(const Entry& entry) const;
  void set(Entry& entry, JobState state, const std::string& reason);  // stored at once
  // A store that refuses (a full disk) must not end mld: tick() tries again.
  void save(Entry& entry);
  void end(Entry& entry, JobState state, const std::string& reason);
  void forget_old(std::uint32_t uid);
  void stop(Entry& entry, job_protocol::StopReason reason, After after);

  // placing.cpp: who runs where, and for how long
  void look_soon();
  void look();
  bool any_waits() const;
  void measure_then_look();  // what serving takes of each device's memory
  SchedulerInput input(std::uint64_t now);
  const std::string& name_of(std::uint32_t uid);
  void start(Entry& entry, const std::vector<std::string>& names);
  void progress(Entry& entry, const job_protocol::Progress& progress);
  void ended(Entry& entry, const JobEnd& end);
  void crashed(Entry& entry, const JobEnd& end);
  void account(Entry& entry);
  void account_all();
  void save_usage(std::uint32_t uid);
  void tick();
  void tick_soon();
  void finish_draining();

  Loop& loop;
  const Config& config;
  Limits& limits;
  Devices& devices;
  Sessions& sessions;
  Store& store;
  Cgroups cgroups;
  std::map<std::uint64_t, Entry> jobs;
  std::map<std::uint32_t, DecayedUsage> usage;      // at realtime
  std::map<std::uint32_t, std::string> user_names;  // of users; asking the system may take a while
  std::optional<Loop::TimerId> look_timer, tick_timer, drain_timer;
  std::map<std::string, std::uint64_t> serving_bytes;  // by device
  std::uint64_t measured_at = 0;                       // ns, monotonic
  bool look_posted = false, draining = false;
  std::function<void()> drained;
  Jobs* owner = nullptr;
  // Functions that the loop calls later look whether this still lives.
  std::shared_ptr<bool> lives = std::make_shared<bool>(true);
};

}  // namespace ml::daemon
