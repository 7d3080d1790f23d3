// Who runs where, as a pure function of what is known: no clock, no process, no file. The same input, the same
// decision.
//
// Users share device time in proportion to their weights: the queued job to start next is of the user with the least
// decayed usage per weight; among that user's jobs the highest priority goes first, then the earliest deadline, then
// the oldest. A job gets all its devices at once or none: while a gang waits for its turn nobody else's later job takes
// the devices that it waits for (they are reserved), so two gangs never hold half each. A running job gives way
// (checkpoint, requeue) when it has had its quantum and a job that should go before it could then start.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ml::daemon {

struct ScheduledDevice {
  std::string name, backend;
  std::uint64_t memory_bytes = 0;  // free for jobs
  std::uint64_t memory_total = 0;
  bool draining = false;
  std::uint64_t job = 0;  // that has it; 0: none
};
struct ScheduledUser {
  std::uint32_t uid;
  double usage;  // decayed device seconds, running jobs' included
  double weight;
};
struct ScheduledJob {
  std::uint64_t id;
  std::uint32_t uid;
  std::uint32_t devices;
  std::string backend;
  std::uint64_t memory_bytes;  // of each device
  std::int32_t priority;
  std::uint64_t deadline;      // ns, 0: none
  std::uint64_t submitted_at;  // ns
  bool running = false;
  bool stopping = false;  // was asked to give way already
  std::uint64_t running_since = 0;
};
struct SchedulerInput {
  std::uint64_t now;
  std::uint64_t quantum;  // ns
  std::vector<ScheduledDevice> devices;
  std::vector<ScheduledUser> users;
  std::vector<ScheduledJob> jobs;
};

struct Decision {
  struct Start {
    std::uint64_t job;
    std::vector<std::string> devices;
  };
  struct Reason {
    std::uint64_t job;
    std::string text;  // one sentence with the numbers: why it waits
  };
  std::vector<Start> start;
  std::vector<std::uint64_t> stop;    // running jobs that give way
  std::vector<std::uint64_t> expire;  // queued jobs whose deadline passed
  std::vector<Reason> waiting;
  std::uint64_t look_again_at = 0;  // ns; 0: when something changes
};
Decision schedule(const SchedulerInput& input);

}  // namespace ml::daemon
