// Jobs: checked for what mld itself has to know, and handed on.
#include <algorithm>

#include "daemon/admin/operations.h"
#include "daemon/process/users.h"

namespace ml::daemon {

namespace {

constexpr std::uint32_t kLogBytes = 64 << 10, kMostLogBytes = 1 << 20;
constexpr std::size_t kMostSpecification = 64 << 10, kMostPath = 4095;
constexpr std::size_t kMostName = 63;

bool ended(const StoredJob& job) {
  return job.state == job_state_name(JobState::done) || job.state == job_state_name(JobState::failed) ||
         job.state == job_state_name(JobState::cancelled);
}

void fill_job(const JobView& job, api::Job& out) {
  out.set_id(job.id);
  out.set_owner(user_name(job.uid));
  out.set_owner_uid(job.uid);
  out.set_name(presentable(job.name));
  out.set_state(job.state);
  out.set_reason(presentable(job.reason));
  out.set_exit_code(job.exit_code);
  out.set_devices(job.devices);
  out.set_backend(presentable(job.backend));
  for (const std::string& device : job.on) out.add_on(device);
  out.set_memory_bytes(job.memory_bytes);
  out.set_priority(job.priority);
  out.set_deadline_ns(job.deadline);
  out.set_submitted_at_ns(job.submitted_at);
  out.set_started_at_ns(job.started_at);
  out.set_ended_at_ns(job.ended_at);
  out.set_device_ns(job.device_ns);
  out.set_starts(job.starts);
  out.set_preemptions(job.preemptions);
  out.set_failures(job.failures);
  out.set_step(job.step);
  out.set_steps(job.steps);
  out.set_epoch(job.epoch);
  out.set_epochs(job.epochs);
  out.set_loss(job.loss);
  out.set_accuracy(job.accuracy);
  out.set_checkpoint_step(job.checkpoint_step);
  out.set_why(presentable(job.why));
  out.set_directory(presentable(job.directory));
}

void require(bool holds, const std::string& what, const std::string& hint) {
  if (!holds) throw Error(Code::invalid_argument, what, "submit job", hint);
}

}  // namespace

JobView Operations::job(std::uint64_t id, const Peer& who) const {
  return naming(codes::kNoJob, Code::not_found, [&] { return parts_.jobs.show(id, who); });
}

void Operations::submit_job(const Peer& who, const api::SubmitJobRequest& request, api::Job& reply) {
  require(request.specification().size() <= kMostSpecification,
          "the specification has " + std::to_string(request.specification().size()) + " bytes",
          "at most 64 KiB; data belongs into files");
  require(request.directory().starts_with('/') && request.directory().size() <= kMostPath &&
              request.directory().find('\0') == std::string::npos,
          "the directory '" + presentable(request.directory().substr(0, 200)) + "' is no absolute path",
          "give the folder in which relative paths of the job start");
  require(
      !request.name().empty() && request.name().size() <= kMostName && presentable(request.name()) == request.name(),
      "a job's name has 1 to 63 bytes without control characters", "set `name` in the job's file");
  require(request.devices() >= 1, "a job needs a device", "set `devices` to 1 or more");
  require(request.priority() >= -100 && request.priority() <= 100,
          "priority " + std::to_string(request.priority()) + " is out of range", "-100 to 100");
  if (request.priority() > 0) require_admin(who, "a priority above 0");
  if (facts_.draining())
    throw NamedError(codes::kStopping,
                     Error(Code::again, "mld is stopping and takes no new jobs", {}, "try again when it is back"));
  StoredJob job;
  job.name = request.name();
  job.specification = request.specification();
  job.directory = request.directory();
  job.devices = request.devices();
  job.backend = request.backend();
  job.memory_bytes = request.memory_bytes();
  job.priority = request.priority();
  job.deadline = request.deadline_ns();
  const std::uint64_t id =
      naming(codes::kNoSuchDevices, Code::not_found, [&] { return parts_.jobs.submit(who, std::move(job)); });
  fill_job(parts_.jobs.show(id, who), reply);
}

void Operations::list_jobs(const Peer& who, const api::ListJobsRequest& request, api::ListJobsReply& reply) {
  if (request.all_users()) require_admin(who, "the list of everybody's jobs");
  for (const JobView& each : parts_.jobs.list(who)) {
    if (!request.all_users() && each.uid != who.uid) continue;
    if (!request.ended_too() && ended(each)) continue;
    fill_job(each, *reply.add_jobs());
  }
}

void Operations::show_job(const Peer& who, const api::JobRequest& request, api::Job& reply) {
  fill_job(job(request.id(), who), reply);
}

void Operations::why_job(const Peer& who, const api::JobRequest& request, api::WhyJobReply& reply) {
  reply.set_why(
      presentable(naming(codes::kNoJob, Code::not_found, [&] { return parts_.jobs.why(request.id(), who); })));
}

void Operations::change_job(const Peer& who, std::uint64_t id, void (Jobs::*change)(std::uint64_t, const Peer&),
                            api::Job& reply) {
  naming(codes::kJobState, Code::invalid_argument, [&] {
    naming(codes::kNotYours, Code::denied,
           [&] { naming(codes::kNoJob, Code::not_found, [&] { (parts_.jobs.*change)(id, who); }); });
  });
  fill_job(job(id, who), reply);
}

void Operations::cancel_job(const Peer& who, const api::JobRequest& request, api::Job& reply) {
  change_job(who, request.id(), &Jobs::cancel, reply);
}

void Operations::pause_job(const Peer& who, const api::JobRequest& request, api::Job& reply) {
  change_job(who, request.id(), &Jobs::pause, reply);
}

void Operations::resume_job(const Peer& who, const api::JobRequest& request, api::Job& reply) {
  change_job(who, request.id(), &Jobs::resume, reply);
}

void Operations::read_job_log(const Peer& who, const api::ReadJobLogRequest& request, api::ReadJobLogReply& reply) {
  const std::uint32_t limit = request.limit_bytes() == 0 ? kLogBytes : std::min(request.limit_bytes(), kMostLogBytes);
  Jobs::LogPart part = naming(codes::kNoJob, Code::not_found,
                              [&] { return parts_.jobs.log(request.id(), request.offset(), limit, who); });
  reply.set_offset(part.offset);
  reply.set_data(std::move(part.bytes));
  reply.set_ended(part.ended);
}

}  // namespace ml::daemon
