#include "daemon/jobs/jobs.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <filesystem>
#include <utility>

#include "daemon/jobs/jobs_state.h"

namespace ml::daemon {
namespace {

constexpr std::array<std::string_view, 7> kStateNames{"queued", "running", "stopping", "paused",
                                                      "done",   "failed",  "cancelled"};
constexpr std::size_t kMaxSpecification = 64 << 10;
constexpr std::size_t kMaxNameBytes = 63;
constexpr std::size_t kMaxPath = 4095;
constexpr std::int32_t kMaxPriority = 100;
constexpr std::uint64_t kCancelNs = 10'000'000'000;
// A validation pass is not interrupted; what takes longer is.
constexpr std::uint64_t kGiveWayNs = 120'000'000'000;
constexpr char kPausing[] = "pausing";

bool has_ended(JobState state) {
  return state == JobState::done || state == JobState::failed || state == JobState::cancelled;
}

JobState state_of(const std::string& name) {
  const auto at = std::ranges::find(kStateNames, name);
  return at == kStateNames.end() ? JobState::failed : static_cast<JobState>(at - kStateNames.begin());
}

std::uint64_t clock_ns(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

// What a job's process or its owner wrote, for others' terminals.
std::string printable(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, ' ');
  return text;
}

[[noreturn]] void wrong_state(std::uint64_t id, JobState state, const char* wanted) {
  const std::string is = "job " + std::to_string(id) + " is " + std::string(job_state_name(state));
  throw Error(Code::invalid_argument,
              job_state_name(state) == wanted ? is + " already" : is + ", so it can't be " + wanted);
}

void check_request(const Peer& owner, const StoredJob& job) {
  const auto refuse = [](const std::string& what, const std::string& hint) {
    throw Error(Code::invalid_argument, what, {}, hint);
  };
  const bool letters = std::ranges::all_of(job.name, [](char c) { return c > ' ' && c <= '~'; });
  if (job.name.empty() || job.name.size() > kMaxNameBytes || !letters)
    refuse("the job's name is not 1 to " + std::to_string(kMaxNameBytes) + " letters, digits and signs",
           "give it another one");
  if (job.specification.empty() || job.specification.size() > kMaxSpecification)
    refuse("the job file has " + std::to_string(job.specification.size()) + " bytes",
           "at most " + std::to_string(kMaxSpecification) + " are allowed");
  if (!job.directory.starts_with('/') || job.directory.size() > kMaxPath ||
      job.directory.find('\0') != std::string::npos)
    refuse("the job's folder is no absolute path", "give one of at most " + std::to_string(kMaxPath) + " bytes");
  if (job.devices == 0 || job.devices > worker_protocol::kMaxGang)
    refuse("the job wants " + std::to_string(job.devices) + " devices",
           "1 to " + std::to_string(worker_protocol::kMaxGang) + " can work together");
  if (job.priority < -kMaxPriority || job.priority > kMaxPriority)
    refuse("priority " + std::to_string(job.priority) + " is out of range", "it goes from -100 to 100");
  if (job.deadline != 0 && job.deadline <= realtime_ns())
    refuse("the deadline is in the past", "name a later one, or none");
  if (job.priority > 0 && !owner.admin) {
    throw Error(Code::denied, "priority " + std::to_string(job.priority) + " is above 0", {},
                "only root and the admin group may go before others; order your own jobs with priorities below 0");
  }
}

}  // namespace

std::uint64_t monotonic_ns() { return clock_ns(CLOCK_MONOTONIC); }
std::uint64_t realtime_ns() { return clock_ns(CLOCK_REALTIME); }

std::string_view job_state_name(JobState state) { return kStateNames.at(static_cast<std::size_t>(state)); }

Jobs::State::~State() {
  for (const auto& timer : {look_timer, tick_timer, drain_timer}) {
    if (timer) loop.cancel(*timer);
  }
}

// The same text for what is not there and for what is somebody else's.
Jobs::State::Entry& Jobs::State::find(std::uint64_t id, const Peer& who) {
  const auto at = jobs.find(id);
  if (at == jobs.end() || !may_see(at->second, who)) {
    throw Error(Code::not_found, "there is no job " + std::to_string(id), {}, "'mlctl job ls --all' lists your jobs");
  }
  return at->second;
}

JobLog& Jobs::State::log_of(Entry& entry) {
  if (!entry.log) entry.log = std::make_unique<JobLog>(folder(entry.stored.id), config.job_log_bytes);
  return *entry.log;
}

void Jobs::State::note(Entry& entry, const std::string& text) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char time[32];
  std::strftime(time, sizeof time, "%F %T", &local);
  log_of(entry).append("[" + std::string(time) + " mld] " + printable(text) + "\n");
}

JobView Jobs::State::view(const Entry& entry) const {
  JobView view{entry.stored, entry.on, entry.why};
  if (entry.accounted_until != 0) view.device_ns += (monotonic_ns() - entry.accounted_until) * entry.stored.devices;
  return view;
}

void Jobs::State::save(Entry& entry) {
  entry.stored.state = job_state_name(entry.state);
  entry.stored_at = monotonic_ns();
  try {
    store.update_job(entry.stored);
    if (std::exchange(entry.unsaved, false)) spdlog::info("job {} is stored again", entry.stored.id);
  } catch (const Error& error) {
    if (!std::exchange(entry.unsaved, true))
      spdlog::error("job {} could not be stored and is tried again: {}", entry.stored.id, error.what());
    tick_soon();
  }
}

void Jobs::State::set(Entry& entry, JobState state, const std::string& reason) {
  entry.state = state;
  entry.stored.reason = printable(reason);
  if (state != JobState::queued) entry.why.clear();
  save(entry);
  look_soon();
}

void Jobs::State::end(Entry& entry, JobState state, const std::string& reason) {
  entry.stored.ended_at = realtime_ns();
  limits.give(entry.stored.uid, Resource::jobs);
  set(entry, state, reason);
  note(entry, std::string(job_state_name(state)) + (reason.empty() ? "" : ": " + reason));
  if (owner->on_ended) owner->on_ended(view(entry));
  entry.log.reset();
  forget_old(entry.stored.uid);
}

void Jobs::State::forget_old(std::uint32_t uid) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> over;  // when, job
  for (const auto& [id, entry] : jobs) {
    if (entry.stored.uid == uid && has_ended(entry.state)) over.emplace_back(entry.stored.ended_at, id);
  }
  if (over.size() <= kEndedKept) return;
  std::ranges::sort(over);
  for (std::size_t i = 0; i < over.size() - kEndedKept; ++i) {
    const std::uint64_t id = over[i].second;
    // Not now: the job that has just ended is still being looked at.
    loop.post([this, id, alive = std::weak_ptr(lives)] {
      if (alive.expired()) return;
      try {
        store.remove_job(id);
      } catch (const Error& error) {
        return spdlog::error("job {} could not be forgotten: {}", id, error.what());  // the next that ends tries again
      }
      JobLog::remove(folder(id));
      jobs.erase(id);
    });
  }
}

void Jobs::State::stop(Entry& entry, job_protocol::StopReason reason, After after) {
  entry.after = after;
  entry.preempted = reason == job_protocol::StopReason::preempted;
  const std::uint64_t grace = reason == job_protocol::StopReason::drained ? config.drain_ms * 1'000'000
                              : after == After::cancel                    ? kCancelNs
                                                                          : kGiveWayNs;
  entry.processes->stop(reason, grace);
  set(entry, JobState::stopping, after == After::pause ? kPausing : "");
}

Jobs::Jobs(Loop& loop, const Config& config, Limits& limits, Devices& devices, Sessions& sessions, Store& store)
    : state_(std::make_unique<State>(loop, config, limits, devices, sessions, store)) {
  state_->owner = this;
}

Jobs::~Jobs() = default;

void Jobs::recover() {
  State& state = *state_;
  for (const StoredUsage& known : state.store.usage()) state.usage[known.uid] = {known.device_seconds, known.at};
  for (StoredJob& stored : state.store.jobs()) {
    State::Entry& entry = state.jobs[stored.id];
    entry.stored = std::move(stored);
    entry.state = state_of(entry.stored.state);
    if (!has_ended(entry.state)) state.limits.count(entry.stored.uid, Resource::jobs);
    if (entry.state != JobState::running && entry.state != JobState::stopping) continue;
    const bool pausing = entry.stored.reason == kPausing;
    state.note(entry, "mld was started again; the job goes on from its last checkpoint");
    state.set(entry, pausing ? JobState::paused : JobState::queued, "");
  }
  state.look_soon();
}

std::uint64_t Jobs::submit(const Peer& owner, StoredJob job) {
  State& state = *state_;
  job.uid = owner.uid;
  job.gid = owner.gid;
  if (job.backend.empty()) job.backend = state.devices.all().front().config.backend;
  check_request(owner, job);
  if (state.draining) throw Error(Code::again, "mld is about to end", {}, "submit the job again when it is back");
  ScheduledJob wanted;
  wanted.devices = job.devices;
  wanted.backend = job.backend;
  wanted.memory_bytes = job.memory_bytes;
  if (const auto never = never_fits(wanted, state.input(monotonic_ns()).devices)) {
    throw Error(Code::not_found, "the job " + *never, {},
                "'mlctl device ls -o wide' shows what there is; a smaller batch needs less memory");
  }
  state.limits.take(owner.uid, Resource::jobs);
  State::Entry entry;
  try {
    job.state = job_state_name(JobState::queued);
    job.submitted_at = realtime_ns();
    job.id = state.store.add_job(job);
  } catch (...) {
    state.limits.give(owner.uid, Resource::jobs);
    throw;
  }
  const std::uint64_t id = job.id;
  entry.stored = std::move(job);
  state.note(state.jobs[id] = std::move(entry), "submitted");
  state.look_soon();
  return id;
}

std::vector<JobView> Jobs::list(const Peer& who) const {
  std::vector<JobView> found;
  for (const auto& [id, entry] : state_->jobs) {
    if (State::may_see(entry, who)) found.push_back(state_->view(entry));
  }
  return found;
}

JobView Jobs::show(std::uint64_t id, const Peer& who) const { return state_->view(state_->find(id, who)); }

std::string Jobs::why(std::uint64_t id, const Peer& who) const {
  const State::Entry& entry = state_->find(id, who);
  const std::string name = "job " + std::to_string(id);
  std::string on;
  for (const std::string& device : entry.on) on += (on.empty() ? "" : ", ") + device;
  switch (entry.state) {
    case JobState::queued: return name + " " + (entry.why.empty() ? "has just been queued" : entry.why);
    case JobState::running: return name + " runs on " + on;
    case JobState::stopping:
      return name + " writes its checkpoint on " + on + " and then " +
             (entry.after == State::After::cancel  ? "is cancelled"
              : entry.after == State::After::pause ? "is paused"
                                                   : "is queued again");
    case JobState::paused: return name + " is paused; 'mlctl job resume " + std::to_string(id) + "' queues it again";
    case JobState::done:
    case JobState::failed:
    case JobState::cancelled: break;
  }
  return name + " is " + std::string(job_state_name(entry.state)) +
         (entry.stored.reason.empty() ? "" : ": " + entry.stored.reason);
}

void Jobs::cancel(std::uint64_t id, const Peer& who) {
  State& state = *state_;
  State::Entry& entry = state.find(id, who);
  if (has_ended(entry.state)) wrong_state(id, entry.state, "cancelled");
  if (entry.processes)
    state.stop(entry, job_protocol::StopReason::paused, State::After::cancel);
  else
    state.end(entry, JobState::cancelled, "");
}

void Jobs::pause(std::uint64_t id, const Peer& who) {
  State& state = *state_;
  State::Entry& entry = state.find(id, who);
  const bool cancelling = entry.state == JobState::stopping && entry.after == State::After::cancel;
  if (has_ended(entry.state) || cancelling) wrong_state(id, entry.state, "paused");
  if (entry.processes)
    state.stop(entry, job_protocol::StopReason::paused, State::After::pause);
  else
    state.set(entry, JobState::paused, "");
}

void Jobs::resume(std::uint64_t id, const Peer& who) {
  State& state = *state_;
  State::Entry& entry = state.find(id, who);
  if (entry.state == JobState::stopping && entry.after == State::After::pause) {
    entry.after = State::After::queue;
    state.set(entry, JobState::stopping, "");
    return;
  }
  if (entry.state != JobState::paused) wrong_state(id, entry.state, "resumed");
  state.set(entry, JobState::queued, "");
}

Jobs::LogPart Jobs::log(std::uint64_t id, std::uint64_t offset, std::size_t limit, const Peer& who) const {
  State::Entry& entry = state_->find(id, who);
  const bool over = has_ended(entry.state);
  const JobLog::Part part = over && !entry.log
                                ? JobLog(state_->folder(id), state_->config.job_log_bytes).read(offset, limit)
                                : state_->log_of(entry).read(offset, limit);
  return {part.offset, part.bytes, over && part.bytes.size() < limit};
}

std::vector<RunningJob> Jobs::running() const {
  std::vector<RunningJob> found;
  for (const auto& [id, entry] : state_->jobs) {
    WorkerProcess* const worker = entry.processes ? entry.processes->worker() : nullptr;
    if (worker != nullptr) found.push_back({id, worker, entry.on});
  }
  return found;
}

std::string Jobs::cgroups_missing() const { return state_->config.user ? std::string() : state_->cgroups.why_not(); }

void Jobs::drain(std::function<void()> drained) {
  State& state = *state_;
  state.draining = true;
  state.drained = std::move(drained);
  for (auto& [id, entry] : state.jobs) {
    if (!entry.processes) continue;
    const State::After after = entry.state == JobState::stopping ? entry.after : State::After::queue;
    state.stop(entry, job_protocol::StopReason::drained, after);
  }
  state.loop.post([state = state_.get(), alive = std::weak_ptr(state.lives)] {
    if (!alive.expired()) state->finish_draining();
  });
}

void Jobs::device_changed() { state_->look_soon(); }

}  // namespace ml::daemon
