// Who runs where, as a pure function of what is known: no clock, no process, no file. The same input, the same
// decision, in whatever order devices' jobs and users are listed.
//
// Users share device time in proportion to their weights: the queued job to start next is of the user with the least
// decayed usage per weight, what running jobs still have of their quantum counted in; among that user's jobs the
// highest priority goes first, then the earliest deadline, then the oldest. A job gets all its devices at once or none.
//
// A job that can't start keeps the devices it will get, free ones too, when every one of them comes free in bounded
// time: so gangs are not starved by a stream of smaller jobs, and two gangs never hold half each. Otherwise it keeps
// nothing from other users; only its own user's later jobs stand back.
//
// A running job gives way (checkpoint, requeue) when its device is drained, or when it has had its quantum and a job
// that goes before it could then start. A job of the same user goes before it by priority, deadline and age; a job of
// another user when that user has had less per weight and either holds no more devices per weight with it, or lags by
// so much (the quantum asked for, or half of what the other had) that the next quantum doesn't turn the tables.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ml::daemon {

struct ScheduledDevice {
  std::string name, backend;
  std::uint64_t memory_bytes = 0;  // that a job may have now; that of the job on it counts in
  std::uint64_t memory_total = 0;  // that a job may have when nothing else is on the device
  bool draining = false;
  std::uint64_t job = 0;  // that has it; 0: none
};
struct ScheduledUser {
  std::uint32_t uid = 0;
  std::string name;
  double usage = 0;  // decayed device seconds, running jobs' included
  double weight = 1;
};
struct ScheduledJob {
  std::uint64_t id = 0;
  std::uint32_t uid = 0;
  std::uint32_t devices = 1;
  std::string backend;             // of all its devices; never empty
  std::uint64_t memory_bytes = 0;  // of each device
  std::int32_t priority = 0;
  std::uint64_t deadline = 0;      // ns, by which it has to have started for the first time; 0: none
  bool started = false;            // has run before, so its deadline was kept
  std::uint64_t submitted_at = 0;  // ns
  bool running = false;
  bool stopping = false;  // was asked to give way already, or is ending
  std::uint64_t running_since = 0;
};
struct SchedulerInput {
  std::uint64_t now = 0;
  std::uint64_t quantum = 0;  // ns
  std::vector<ScheduledDevice> devices;
  std::vector<ScheduledUser> users;  // of every job
  std::vector<ScheduledJob> jobs;
};

struct Decision {
  struct Start {
    std::uint64_t job = 0;
    std::vector<std::string> devices;
    friend bool operator==(const Start&, const Start&) = default;
  };
  struct Reason {
    std::uint64_t job = 0;
    std::string text;  // one sentence with the numbers: why it waits
    friend bool operator==(const Reason&, const Reason&) = default;
  };
  std::vector<Start> start;
  std::vector<std::uint64_t> stop;    // running jobs that give way
  std::vector<std::uint64_t> expire;  // queued jobs whose deadline passed
  std::vector<Reason> waiting;
  std::uint64_t look_again_at = 0;  // ns; 0: when something changes
  friend bool operator==(const Decision&, const Decision&) = default;
};
Decision schedule(const SchedulerInput& input);

// Why `job` could not start even if nothing else were there, in words with the numbers; nothing when it could.
std::optional<std::string> never_fits(const ScheduledJob& job, const std::vector<ScheduledDevice>& devices);

}  // namespace ml::daemon
