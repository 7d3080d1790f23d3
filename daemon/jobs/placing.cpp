// Who runs where: feeds the scheduler, does what it says, and counts what everybody used.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "daemon/jobs/jobs_state.h"
#include "daemon/process/users.h"
#include "daemon/scheduler/words.h"
#include "daemon/workers/statistics.h"

namespace ml::daemon {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kMeasureNs = kSecond;   // how long an answer about memory counts
constexpr std::uint64_t kTickNs = kSecond;      // between two accounts of running jobs
constexpr std::uint64_t kSaveNs = 5 * kSecond;  // between two writes of progress
constexpr std::uint64_t kFirstDelayNs = kSecond / 10;
constexpr std::uint64_t kLongestDelayNs = 10 * kSecond;

std::string times(std::uint32_t count) { return count == 1 ? "once" : std::to_string(count) + " times"; }

}  // namespace

void Jobs::State::look_soon() {
  if (look_posted) return;
  look_posted = true;
  loop.post([this, alive = std::weak_ptr(lives)] {
    if (alive.expired()) return;
    if (any_waits() && monotonic_ns() - measured_at >= kMeasureNs) return measure_then_look();
    look_posted = false;
    look();
  });
}

bool Jobs::State::any_waits() const {
  return std::ranges::any_of(jobs, [](const auto& job) { return job.second.state == JobState::queued; });
}

void Jobs::State::measure_then_look() {
  std::vector<WorkerProcess*> serving;
  for (const Device& device : devices.all()) serving.push_back(device.serving.get());
  gather_statistics(loop, serving, [this, alive = std::weak_ptr(lives)](const Statistics& known) {
    if (alive.expired()) return;
    for (const Device& device : devices.all()) {
      const auto found = known.find(device.serving.get());
      if (found == known.end()) continue;  // what was known of it last counts
      std::uint64_t bytes = found->second.worker.scratch_bytes + found->second.worker.model_bytes;
      for (const worker_protocol::SessionEntry& session : found->second.sessions) bytes += session.device_bytes;
      serving_bytes[device.config.name] = bytes;
    }
    measured_at = monotonic_ns();
    look_posted = false;
    look();
  });
}

const std::string& Jobs::State::name_of(std::uint32_t uid) {
  std::string& name = user_names[uid];
  if (name.empty()) name = user_name(uid);
  return name;
}

SchedulerInput Jobs::State::input(std::uint64_t now) {
  account_all();
  const std::uint64_t real = realtime_ns();
  SchedulerInput known;
  known.now = now;
  known.quantum = config.quantum_ms * 1'000'000;
  for (const Device& device : devices.all()) {
    const DeviceConfig& is = device.config;
    const std::uint64_t serving = serving_bytes[is.name];
    known.devices.push_back({is.name, is.backend, is.memory_bytes - std::min(serving, is.memory_bytes), is.memory_bytes,
                             device.draining, 0});
  }
  std::set<std::uint32_t> users;
  for (const auto& [id, entry] : jobs) {
    const StoredJob& stored = entry.stored;
    const bool waits = entry.state == JobState::queued && entry.not_before <= now;
    if (!entry.processes && !waits) continue;
    users.insert(stored.uid);
    ScheduledJob job;
    job.id = id;
    job.uid = stored.uid;
    job.devices = stored.devices;
    job.backend = stored.backend;
    job.memory_bytes = stored.memory_bytes;
    job.priority = stored.priority;
    // Deadlines are wall-clock times.
    if (stored.deadline != 0) job.deadline = stored.deadline > real ? now + (stored.deadline - real) : now;
    job.started = stored.starts > 0;
    job.submitted_at = stored.submitted_at;
    job.running = entry.processes != nullptr;
    job.stopping = entry.state == JobState::stopping;
    job.running_since = entry.running_since;
    known.jobs.push_back(std::move(job));
    for (const std::string& name : entry.on) std::ranges::find(known.devices, name, &ScheduledDevice::name)->job = id;
  }
  for (const std::uint32_t uid : users) {
    const auto weight = static_cast<double>(std::max<std::uint64_t>(1, limits.values(uid).weight));
    known.users.push_back({uid, name_of(uid), usage[uid].at(real), weight});
  }
  return known;
}

void Jobs::State::look() {
  if (look_timer) loop.cancel(*std::exchange(look_timer, std::nullopt));
  if (draining) return;
  const std::uint64_t now = monotonic_ns();
  const Decision decision = schedule(input(now));
  for (const std::uint64_t id : decision.expire) {
    Entry& entry = jobs.at(id);
    const std::uint64_t waited = realtime_ns() - std::min(realtime_ns(), entry.stored.submitted_at);
    end(entry, JobState::failed,
        "its deadline passed before it could start: it waited for " + duration_text(waited) +
            (entry.why.empty() ? "" : "; it last " + entry.why));
  }
  for (const Decision::Reason& reason : decision.waiting) jobs.at(reason.job).why = reason.text;
  for (const std::uint64_t id : decision.stop) {
    Entry& entry = jobs.at(id);
    note(entry, "gives way after " + duration_text(now - entry.running_since));
    stop(entry, job_protocol::StopReason::preempted, After::queue);
  }
  for (const Decision::Start& start : decision.start) this->start(jobs.at(start.job), start.devices);
  if (any_waits()) tick_soon();
  std::uint64_t next = decision.look_again_at;
  for (auto& [id, entry] : jobs) {
    if (entry.state == JobState::queued && entry.not_before > now && (next == 0 || entry.not_before < next))
      next = entry.not_before;
  }
  if (next == 0) return;
  look_timer = loop.after(next > now ? next - now : 1, [this] {
    look_timer.reset();
    look_soon();
  });
}

void Jobs::State::start(Entry& entry, const std::vector<std::string>& names) {
  std::vector<Device*> granted;
  granted.reserve(names.size());
  for (const std::string& name : names) granted.push_back(devices.find(name));
  std::string on;
  for (const std::string& name : names) on += (on.empty() ? "" : ", ") + name;
  StoredJob& stored = entry.stored;
  ++stored.starts;
  if (stored.started_at == 0) stored.started_at = realtime_ns();
  note(entry, "starts on " + on + (stored.starts > 1 ? " (start " + std::to_string(stored.starts) + ")" : ""));
  entry.after = After::queue;
  entry.preempted = false;
  const std::uint64_t id = stored.id;
  JobEvents events;
  events.progress = [this, id](const job_protocol::Progress& known) { progress(jobs.at(id), known); };
  events.output = [this, id](std::string_view text) { log_of(jobs.at(id)).append(text); };
  events.worker_gone = [this](WorkerProcess& worker) {
    if (owner->on_worker_gone) owner->on_worker_gone(worker);
  };
  events.ended = [this, id](const JobEnd& how) { ended(jobs.at(id), how); };
  try {
    entry.processes =
        std::make_unique<JobProcesses>(loop, config, sessions, cgroups, stored, granted, std::move(events));
  } catch (const Error& error) {
    if (error.code() != Code::not_found) return crashed(entry, {JobEnd::How::crashed, 0, error.message()});
    return end(entry, JobState::failed, error.message());
  }
  entry.on = names;
  entry.running_since = entry.accounted_until = monotonic_ns();
  set(entry, JobState::running, "");
  if (!tick_timer) tick();
}

void Jobs::State::progress(Entry& entry, const job_protocol::Progress& known) {
  StoredJob& stored = entry.stored;
  const bool checkpoint = known.checkpoint_step > stored.checkpoint_step;
  stored.step = known.step;
  stored.steps = known.steps;
  stored.epoch = known.epoch;
  stored.epochs = known.epochs;
  stored.loss = known.loss;
  stored.accuracy = known.accuracy;
  stored.checkpoint_step = known.checkpoint_step;
  if (checkpoint) entry.failures_in_a_row = 0;
}

void Jobs::State::ended(Entry& entry, const JobEnd& end) {
  account(entry);
  save_usage(entry.stored.uid);
  entry.accounted_until = 0;
  entry.processes.reset();
  entry.on.clear();
  entry.stored.exit_code = end.exit_code;
  using How = JobEnd::How;
  if (end.how == How::done) {
    this->end(entry, JobState::done, "");
  } else if (end.how == How::failed) {
    this->end(entry, JobState::failed, end.text);
  } else if (entry.after == After::cancel) {
    this->end(entry, JobState::cancelled, "");
  } else if (entry.after == After::pause) {
    note(entry, "paused");
    set(entry, JobState::paused, "");
  } else if (end.how == How::gave_way) {
    if (entry.preempted) ++entry.stored.preemptions;
    entry.why.clear();
    set(entry, JobState::queued, "");
  } else {
    crashed(entry, end);
  }
  finish_draining();
}

// Started again after a while that doubles, unless it dies again and again without getting anywhere.
void Jobs::State::crashed(Entry& entry, const JobEnd& end) {
  StoredJob& stored = entry.stored;
  ++stored.failures;
  if (draining) {  // it was killed because it took too long
    note(entry, "ended before its checkpoint was written: " + end.text);
    return set(entry, JobState::queued, "");
  }
  const std::uint32_t count = ++entry.failures_in_a_row;
  if (count >= kFailuresInARow) {
    return this->end(
        entry, JobState::failed,
        "it ended " + times(count) + " in a row without a new checkpoint, the last time because " + end.text);
  }
  note(entry, end.text + "; it is started again from its last checkpoint");
  const std::uint64_t delay = count == 1 ? 0 : std::min(kLongestDelayNs, kFirstDelayNs << (count - 2));
  entry.not_before = monotonic_ns() + delay;
  set(entry, JobState::queued, "");
  entry.why = "is started again soon: it ended " + times(count) + " without a new checkpoint, " + end.text;
}

void Jobs::State::account(Entry& entry) {
  if (entry.accounted_until == 0) return;
  const std::uint64_t now = monotonic_ns();
  const std::uint64_t used = (now - entry.accounted_until) * entry.stored.devices;
  entry.accounted_until = now;
  entry.stored.device_ns += used;
  usage[entry.stored.uid].add(static_cast<double>(used) * 1e-9, realtime_ns());
}

void Jobs::State::account_all() {
  for (auto& [id, entry] : jobs) account(entry);
}

void Jobs::State::save_usage(std::uint32_t uid) {
  const std::uint64_t now = realtime_ns();
  try {
    store.set_usage({uid, usage[uid].at(now), now});
  } catch (const Error& error) {  // the next account has this one in it
    spdlog::warn("what uid {} used could not be stored: {}", uid, error.what());
  }
}

void Jobs::State::tick() {
  tick_timer.reset();
  account_all();
  bool any = false;
  for (auto& [id, entry] : jobs) {
    if (!entry.processes && !entry.unsaved) continue;
    any = true;
    if (!entry.unsaved && monotonic_ns() - entry.stored_at < kSaveNs) continue;
    save(entry);
    save_usage(entry.stored.uid);
  }
  // Memory that serving gives back and clocks that are set come without an event.
  if (any_waits()) look_soon();
  if (any || any_waits()) tick_soon();
}

void Jobs::State::tick_soon() {
  if (!tick_timer) tick_timer = loop.after(kTickNs, [this] { tick(); });
}

void Jobs::State::finish_draining() {
  if (!draining || !drained) return;
  if (std::ranges::any_of(jobs, [](const auto& job) { return job.second.processes != nullptr; })) return;
  const auto call = std::exchange(drained, nullptr);
  call();
}

}  // namespace ml::daemon
