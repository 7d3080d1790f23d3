// Of mld as a whole: its state and everybody's limits.
#include <unistd.h>

#include "daemon/admin/operations.h"
#include "daemon/process/users.h"

namespace ml::daemon {

namespace {

constexpr Peer kEverything{0, 0, 0, true};  // what mld itself may see

struct OtherLimit {
  const char* name;
  std::uint64_t LimitValues::*value;
  const char* unit;
};
// Those that are not counted per user.
constexpr OtherLimit kOthers[] = {
    {"handles", &LimitValues::handles, ""},
    {"plans", &LimitValues::plans, ""},
    {"graph_bytes", &LimitValues::graph_bytes, "bytes"},
    {"compile_ms", &LimitValues::compile_ms, "ms"},
    {"weight", &LimitValues::weight, ""},
    {"sessions_a_second", &LimitValues::sessions_a_second, "per second"},
};

}  // namespace

void require_admin(const Peer& who, const std::string& what) {
  if (who.admin) return;
  throw NamedError(codes::kNotYours, Error(Code::denied, what + " is for administrators", {},
                                           "ask root or a member of the group mlaccel-admin"));
}

void Operations::status(const Peer& who, const api::StatusRequest&, api::StatusReply& reply) {
  reply.set_version(facts_.version);
  reply.set_pid(getpid());
  reply.set_user_mode(parts_.config.user);
  reply.set_event_loop(parts_.loop.name());
  reply.set_socket(presentable(parts_.config.socket));
  reply.set_state_directory(presentable(parts_.config.state_directory));
  reply.set_started_at_ns(facts_.started_at);
  reply.set_devices(static_cast<std::uint32_t>(parts_.devices.all().size()));
  reply.set_sessions(static_cast<std::uint32_t>(parts_.sessions.list().size()));
  reply.set_models(static_cast<std::uint32_t>(parts_.registry.list(who).size()));
  reply.set_draining(facts_.draining());
  std::uint32_t running = 0, queued = 0;
  for (const JobView& job : parts_.jobs.list(kEverything)) {
    running += job.state == job_state_name(JobState::running) || job.state == job_state_name(JobState::stopping);
    queued += job.state == job_state_name(JobState::queued);
  }
  reply.set_jobs_running(running);
  reply.set_jobs_queued(queued);

  for (const Device& device : parts_.devices.all())
    if (!device.serving)
      reply.add_problems(presentable("device " + device.config.name + " has no worker: " + device.last_death));
  // Names of others' models are nobody else's business.
  const std::string own = "models/" + std::to_string(who.uid) + "/";
  for (const std::string& entry : parts_.registry.set_aside())
    if (who.admin || entry.starts_with(own)) reply.add_problems(presentable(entry));
  if (who.admin)
    for (const std::string& problem : facts_.problems()) reply.add_problems(presentable(problem));
}

void Operations::show_limits(const Peer& who, const api::ShowLimitsRequest& request, api::ShowLimitsReply& reply) {
  const std::uint32_t uid = request.of_uid() ? request.uid() : who.uid;
  if (uid != who.uid) require_admin(who, "another user's limits");
  reply.set_uid(uid);
  reply.set_owner(user_name(uid));
  for (std::size_t i = 0; i < kResources; ++i) {
    const auto resource = static_cast<Resource>(i);
    api::Limit& limit = *reply.add_limits();
    limit.set_name(std::string(resource_name(resource)));
    limit.set_used(parts_.limits.used(uid, resource));
    limit.set_limit(parts_.limits.limit(uid, resource));
    if (resource_name(resource).ends_with("_bytes")) limit.set_unit("bytes");
  }
  const LimitValues& values = parts_.limits.values(uid);
  for (const OtherLimit& other : kOthers) {
    api::Limit& limit = *reply.add_limits();
    limit.set_name(other.name);
    limit.set_limit(values.*other.value);
    limit.set_unit(other.unit);
  }
}

}  // namespace ml::daemon
