// One round of scheduling: what is known, and what has been decided so far.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/scheduler/scheduler.h"

namespace ml::daemon {

class Round {
 public:
  explicit Round(const SchedulerInput& input);
  Decision decide();

 private:
  struct User {
    const ScheduledUser* known = nullptr;
    double ahead = 0;                        // seconds: what its jobs still have of their quantum
    double holding = 0;                      // devices, as decided so far
    std::vector<const ScheduledJob*> queue;  // the first one goes first
    std::size_t next = 0;
    double share() const { return known->usage / known->weight; }
    double share_ahead() const { return (known->usage + ahead) / known->weight; }
  };
  struct Device {
    const ScheduledDevice* known = nullptr;
    const ScheduledJob* occupant = nullptr;
    const ScheduledJob* kept_for = nullptr;          // gets it now, or as soon as it is free
    std::map<std::uint32_t, std::uint64_t> own_job;  // by user: the job of theirs that their later jobs leave it to
    bool taken() const { return known->job != 0; }
  };
  // How a device comes to a job, best first.
  enum class Way { free, coming_free, gives_way, stays };
  struct Candidate {
    std::size_t device;
    Way way;
    std::uint64_t at;  // ns: when its job has had its quantum
  };

  void leave_draining_devices();
  void expire_deadlines();
  const ScheduledJob* next();
  void place(const ScheduledJob& job);
  std::vector<Candidate> candidates(const ScheduledJob& job);
  Candidate candidate(std::size_t device, const ScheduledJob& job);
  void keep(const ScheduledJob& job, const std::vector<Candidate>& chosen);
  void stop(const ScheduledJob& job);
  bool goes_before(const ScheduledJob& waiting, const ScheduledJob& running);
  bool stops(const ScheduledJob& job) const;
  void look_again(std::uint64_t at);
  User& user(const ScheduledJob& job) { return users_.at(job.uid); }

  // words (reasons.cpp)
  std::string why(const ScheduledJob& job);
  std::string why_not(const Device& device, const ScheduledJob& job);
  std::string why_it_stays(const ScheduledJob& waiting, const ScheduledJob& running);
  std::string name(const ScheduledJob& job) const;

  const SchedulerInput& in_;
  double quantum_;  // seconds
  std::vector<Device> devices_;
  std::map<std::uint32_t, User> users_;
  std::map<std::uint64_t, const ScheduledJob*> jobs_;  // by id
  std::vector<const ScheduledJob*> waiting_;
  Decision decision_;
};

// The order among one user's jobs.
bool goes_first(const ScheduledJob& a, const ScheduledJob& b);

}  // namespace ml::daemon
