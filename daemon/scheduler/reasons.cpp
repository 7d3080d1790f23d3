// Why a job waits: one sentence with the numbers.
#include <algorithm>
#include <cstdio>

#include "daemon/config/units.h"
#include "daemon/scheduler/round.h"
#include "daemon/scheduler/words.h"

namespace ml::daemon {
namespace {

constexpr std::size_t kDevicesNamed = 4;

std::string seconds_text(double seconds) {
  return duration_text(static_cast<std::uint64_t>(std::max(0.0, seconds) * 1e9));
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

}  // namespace

std::string Round::name(const ScheduledJob& job) const {
  const ScheduledUser& owner = *users_.at(job.uid).known;
  return "job " + std::to_string(job.id) + " of " +
         (owner.name.empty() ? "uid " + std::to_string(owner.uid) : owner.name);
}

std::string Round::why(const ScheduledJob& job) {
  if (const auto never = never_fits(job, in_.devices)) return "can't start: it " + *never;
  std::size_t of_backend = 0;
  std::vector<std::string> parts;
  for (const Device& device : devices_) {
    if (device.known->backend != job.backend) continue;
    ++of_backend;
    parts.push_back(device.known->name + " " + why_not(device, job));
  }
  const std::size_t more = parts.size() > kDevicesNamed ? parts.size() - kDevicesNamed : 0;
  parts.resize(parts.size() - more);
  std::string text = "waits for " + std::to_string(job.devices) + " of " + std::to_string(of_backend) + " " +
                     job.backend + (of_backend == 1 ? " device" : " devices");
  for (std::size_t i = 0; i < parts.size(); ++i) text += (i == 0 ? ": " : ", ") + parts[i];
  if (more > 0) text += " and " + std::to_string(more) + " more";
  return text;
}

std::string Round::why_not(const Device& device, const ScheduledJob& job) {
  const ScheduledDevice& known = *device.known;
  if (known.draining) return "is draining";
  if (known.memory_bytes < job.memory_bytes)
    return "has " + format_bytes(known.memory_bytes) + " for a job that needs " + format_bytes(job.memory_bytes);
  const ScheduledJob* occupant = device.occupant;
  if (device.kept_for != nullptr && device.kept_for != &job) {
    const bool starts = std::ranges::any_of(
        decision_.start, [&](const Decision::Start& start) { return start.job == device.kept_for->id; });
    return (starts ? "goes to " : "is kept for ") + name(*device.kept_for) + ", which goes first";
  }
  if (!device.taken()) {
    if (device.kept_for == &job) return "is kept for it";
    const auto own = device.own_job.find(job.uid);
    if (own != device.own_job.end() && own->second != job.id)
      return "is left to job " + std::to_string(own->second) + " of the same user, which goes first";
    return "is free";
  }
  if (occupant == nullptr) return "is being cleared of job " + std::to_string(known.job);
  const std::string busy = "is busy with " + name(*occupant);
  if (occupant->stopping) return busy + " (which is about to end or give way)";
  const std::uint64_t ran = in_.now - std::min(in_.now, occupant->running_since);
  if (stops(*occupant)) return busy + " (which gives way after " + duration_text(ran) + ")";
  if (ran < in_.quantum)
    return busy + " (running " + duration_text(ran) + " of its " + duration_text(in_.quantum) + " quantum)";
  return busy + " (running " + duration_text(ran) + why_it_stays(job, *occupant) + ")";
}

std::string Round::why_it_stays(const ScheduledJob& waiting, const ScheduledJob& running) {
  if (goes_before(waiting, running)) return "; it gives way when the other devices are free too";
  if (waiting.uid == running.uid) {
    if (waiting.priority != running.priority)
      return "; its priority " + std::to_string(running.priority) + " goes before " + std::to_string(waiting.priority);
    return "; it was submitted before this one";
  }
  const ScheduledUser& mine = *user(waiting).known;
  const ScheduledUser& other = *user(running).known;
  std::string text = "; its owner has had " + seconds_text(other.usage) + " of device time, this job's owner " +
                     seconds_text(mine.usage);
  if (mine.weight != other.weight)
    text += ", at weights " + number_text(other.weight) + " and " + number_text(mine.weight);
  return text;
}

}  // namespace ml::daemon
