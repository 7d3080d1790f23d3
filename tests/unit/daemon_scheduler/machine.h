// A machine for the scheduler's tests: devices and jobs that run in simulated time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/scheduler/scheduler.h"
#include "daemon/scheduler/usage.h"

namespace ml::daemon::test {

inline constexpr std::uint64_t kMillisecond = 1'000'000, kSecond = 1'000'000'000;

class Machine {
 public:
  explicit Machine(std::uint64_t quantum) { input.quantum = quantum; }

  void device(const std::string& name, const std::string& backend = "cpu", std::uint64_t memory = 1 << 30) {
    input.devices.push_back({name, backend, memory, memory, false, 0});
  }
  void user(std::uint32_t uid, const std::string& name, double weight = 1) {
    input.users.push_back({uid, name, 0, weight});
  }
  // `work`: ns of running that it needs.
  ScheduledJob& submit(std::uint32_t uid, std::uint32_t devices, std::uint64_t work) {
    ScheduledJob job;
    job.id = ++last_id;
    job.uid = uid;
    job.devices = devices;
    job.backend = "cpu";
    job.submitted_at = input.now;
    work_[job.id] = work;
    input.jobs.push_back(job);
    return input.jobs.back();
  }
  ScheduledJob* find(std::uint64_t id) {
    const auto at = std::ranges::find(input.jobs, id, &ScheduledJob::id);
    return at == input.jobs.end() ? nullptr : &*at;
  }
  // Decides and does what was decided. A job that gives way needs `checkpoint` ns for it.
  Decision decide(std::uint64_t checkpoint = 0) {
    for (ScheduledUser& known : input.users) known.usage = usage_[known.uid].at(input.now);
    Decision decision = schedule(input);
    for (const std::uint64_t id : decision.expire) remove(id);
    for (const std::uint64_t id : decision.stop) {
      find(id)->stopping = true;
      stops_at_[id] = input.now + checkpoint;
    }
    for (const Decision::Start& start : decision.start) {
      ScheduledJob& job = *find(start.job);
      job.running = job.started = true;
      job.running_since = input.now;
      for (const std::string& name : start.devices)
        std::ranges::find(input.devices, name, &ScheduledDevice::name)->job = start.job;
    }
    return decision;
  }
  // Time passes; jobs work, end and stop.
  void advance(std::uint64_t ns) {
    input.now += ns;
    std::vector<std::uint64_t> ended;
    for (ScheduledJob& job : input.jobs) {
      if (!job.running) continue;
      const double seconds = static_cast<double>(ns) * 1e-9 * job.devices;
      usage_[job.uid].add(seconds, input.now);
      device_seconds[job.uid] += seconds;
      std::uint64_t& work = work_[job.id];
      work -= std::min(work, ns);
      if (work == 0) {
        ended.push_back(job.id);
      } else if (job.stopping && stops_at_[job.id] <= input.now) {
        job.running = job.stopping = false;
        release(job.id);
      }
    }
    for (const std::uint64_t id : ended) remove(id);
  }
  void remove(std::uint64_t id) {
    release(id);
    std::erase_if(input.jobs, [&](const ScheduledJob& job) { return job.id == id; });
  }

  SchedulerInput input;
  std::uint64_t last_id = 0;
  std::map<std::uint32_t, double> device_seconds;

 private:
  void release(std::uint64_t id) {
    for (ScheduledDevice& device : input.devices) {
      if (device.job == id) device.job = 0;
    }
  }
  std::map<std::uint64_t, std::uint64_t> work_, stops_at_;
  std::map<std::uint32_t, DecayedUsage> usage_;
};

}  // namespace ml::daemon::test
