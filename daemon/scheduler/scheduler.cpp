#include "daemon/scheduler/scheduler.h"

#include <algorithm>
#include <tuple>

#include "daemon/config/units.h"
#include "daemon/scheduler/round.h"

namespace ml::daemon {
namespace {

constexpr std::uint64_t kNever = ~std::uint64_t{0};

// The deadline while it still counts: a job that has started once has kept it.
std::uint64_t pending_deadline(const ScheduledJob& job) {
  return job.deadline == 0 || job.started || job.running ? kNever : job.deadline;
}

}  // namespace

bool goes_first(const ScheduledJob& a, const ScheduledJob& b) {
  return std::tuple(-std::int64_t{a.priority}, pending_deadline(a), a.submitted_at, a.id) <
         std::tuple(-std::int64_t{b.priority}, pending_deadline(b), b.submitted_at, b.id);
}

Round::Round(const SchedulerInput& input) : in_(input), quantum_(static_cast<double>(input.quantum) * 1e-9) {
  for (const ScheduledUser& known : in_.users) users_[known.uid].known = &known;
  for (const ScheduledJob& job : in_.jobs) jobs_[job.id] = &job;
  for (const auto& [id, known] : jobs_) {
    const ScheduledJob& job = *known;
    if (!job.running) user(job).queue.push_back(&job);
    if (!job.running || job.stopping) continue;
    const double ran = static_cast<double>(in_.now - std::min(in_.now, job.running_since)) * 1e-9;
    user(job).ahead += job.devices * std::max(0.0, quantum_ - ran);
    user(job).holding += job.devices;
  }
  for (auto& [uid, of] : users_) std::ranges::sort(of.queue, [](auto* a, auto* b) { return goes_first(*a, *b); });
  for (const ScheduledDevice& device : in_.devices) {
    const auto job = jobs_.find(device.job);
    devices_.push_back({&device, job == jobs_.end() ? nullptr : job->second, nullptr, {}});
  }
}

Decision Round::decide() {
  leave_draining_devices();
  expire_deadlines();
  while (const ScheduledJob* job = next()) place(*job);
  for (const ScheduledJob* job : waiting_) decision_.waiting.push_back({job->id, why(*job)});
  return std::move(decision_);
}

void Round::leave_draining_devices() {
  for (const Device& device : devices_) {
    if (device.known->draining && device.occupant != nullptr && !stops(*device.occupant)) stop(*device.occupant);
  }
}

void Round::expire_deadlines() {
  for (auto& [uid, of] : users_) {
    std::erase_if(of.queue, [&](const ScheduledJob* job) {
      const std::uint64_t deadline = pending_deadline(*job);
      if (deadline > in_.now) {
        if (deadline != kNever) look_again(deadline);
        return false;
      }
      decision_.expire.push_back(job->id);
      return true;
    });
  }
}

// The first job of the user who is furthest behind.
const ScheduledJob* Round::next() {
  User* best = nullptr;
  const auto rank = [](const User& of) {
    const ScheduledJob& job = *of.queue[of.next];
    return std::tuple(of.share_ahead(), job.submitted_at, job.id);
  };
  for (auto& [uid, of] : users_) {
    if (of.next < of.queue.size() && (best == nullptr || rank(of) < rank(*best))) best = &of;
  }
  return best == nullptr ? nullptr : best->queue[best->next++];
}

void Round::place(const ScheduledJob& job) {
  std::vector<Candidate> chosen = candidates(job);
  if (chosen.size() >= job.devices) {
    chosen.resize(job.devices);
    if (chosen.back().way == Way::free) {
      keep(job, chosen);
      Decision::Start start{job.id, {}};
      for (const Candidate& candidate : chosen) start.devices.push_back(devices_[candidate.device].known->name);
      decision_.start.push_back(std::move(start));
      return;
    }
    if (chosen.back().way != Way::stays) {
      keep(job, chosen);
      std::uint64_t ready = in_.now;
      for (const Candidate& candidate : chosen) ready = std::max(ready, candidate.at);
      for (const Candidate& candidate : chosen) {
        const ScheduledJob* occupant = devices_[candidate.device].occupant;
        if (ready <= in_.now && candidate.way == Way::gives_way && !stops(*occupant)) stop(*occupant);
      }
      if (ready > in_.now) look_again(ready);
    } else {
      // Unbounded: others may have the free devices. Its user's later jobs may not, unless what is in the way is the
      // user's own: otherwise their use would keep the user from ever being the one who is behind.
      const bool own = std::ranges::any_of(chosen, [&](const Candidate& candidate) {
        return candidate.way == Way::stays && devices_[candidate.device].occupant->uid == job.uid;
      });
      std::uint64_t soonest = kNever;
      for (const Candidate& candidate : chosen) {
        if (candidate.way == Way::free && !own) devices_[candidate.device].own_job.emplace(job.uid, job.id);
        if (candidate.way == Way::stays) soonest = std::min(soonest, candidate.at);
      }
      look_again(soonest > in_.now ? soonest : in_.now + std::max<std::uint64_t>(in_.quantum / 8, 1'000'000));
    }
  }
  waiting_.push_back(&job);
}

// The devices that it could have, those that it gets the soonest first; of free ones the smallest that will do.
std::vector<Round::Candidate> Round::candidates(const ScheduledJob& job) {
  std::vector<Candidate> found;
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    const ScheduledDevice& known = *devices_[i].known;
    if (known.backend != job.backend || known.draining || known.memory_bytes < job.memory_bytes) continue;
    if (devices_[i].kept_for != nullptr || devices_[i].own_job.contains(job.uid)) continue;
    found.push_back(candidate(i, job));
  }
  std::ranges::sort(found, [&](const Candidate& a, const Candidate& b) {
    const auto rank = [&](const Candidate& c) {
      const Device& device = devices_[c.device];
      const double share = device.occupant == nullptr ? 0 : user(*device.occupant).share();
      return std::tuple(c.way, c.at, -share, device.known->memory_bytes, c.device);
    };
    return rank(a) < rank(b);
  });
  return found;
}

Round::Candidate Round::candidate(std::size_t device, const ScheduledJob& job) {
  if (!devices_[device].taken()) return {device, Way::free, 0};
  const ScheduledJob* occupant = devices_[device].occupant;
  if (occupant == nullptr || stops(*occupant)) return {device, Way::coming_free, 0};
  const std::uint64_t quantum_ends = occupant->running_since + in_.quantum;
  return {device, goes_before(job, *occupant) ? Way::gives_way : Way::stays, std::max(in_.now, quantum_ends)};
}

void Round::keep(const ScheduledJob& job, const std::vector<Candidate>& chosen) {
  for (const Candidate& candidate : chosen) devices_[candidate.device].kept_for = &job;
  user(job).ahead += job.devices * quantum_;
  user(job).holding += job.devices;
}

void Round::stop(const ScheduledJob& job) {
  decision_.stop.push_back(job.id);
  user(job).holding -= job.devices;
}

bool Round::stops(const ScheduledJob& job) const {
  return job.stopping || std::ranges::find(decision_.stop, job.id) != decision_.stop.end();
}

bool Round::goes_before(const ScheduledJob& waiting, const ScheduledJob& running) {
  if (waiting.uid == running.uid) return goes_first(waiting, running);
  const User& mine = user(waiting);
  const User& other = user(running);
  if (mine.share() >= other.share()) return false;
  const double would_hold = (mine.holding + waiting.devices) / mine.known->weight;
  if (would_hold <= other.holding / other.known->weight) return true;
  const double asked = quantum_ * waiting.devices / mine.known->weight;
  return mine.share() + std::min(asked, other.share() / 2) <= other.share();
}

void Round::look_again(std::uint64_t at) {
  if (decision_.look_again_at == 0 || at < decision_.look_again_at) decision_.look_again_at = at;
}

Decision schedule(const SchedulerInput& input) { return Round(input).decide(); }

std::optional<std::string> never_fits(const ScheduledJob& job, const std::vector<ScheduledDevice>& devices) {
  std::uint32_t of_backend = 0, large_enough = 0;
  std::uint64_t largest = 0;
  for (const ScheduledDevice& device : devices) {
    if (device.backend != job.backend) continue;
    ++of_backend;
    largest = std::max(largest, device.memory_total);
    if (device.memory_total >= job.memory_bytes) ++large_enough;
  }
  const std::string wanted =
      std::to_string(job.devices) + " " + job.backend + (job.devices == 1 ? " device" : " devices");
  if (of_backend < job.devices)
    return "needs " + wanted + ", and there " + (of_backend == 1 ? "is " : "are ") + std::to_string(of_backend);
  if (large_enough < job.devices) {
    return "needs " + wanted + " with " + format_bytes(job.memory_bytes) + " each, and " +
           std::to_string(large_enough) + " of " + std::to_string(of_backend) + (large_enough == 1 ? " has" : " have") +
           " that much (the largest has " + format_bytes(largest) + ")";
  }
  return std::nullopt;
}

}  // namespace ml::daemon
