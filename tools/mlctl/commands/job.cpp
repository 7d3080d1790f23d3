#include <filesystem>
#include <fstream>
#include <sstream>

#include "daemon/job/submission.h"
#include "tools/mlctl/admin/admin_client.h"
#include "tools/mlctl/commands/commands.h"
#include "tools/mlctl/commands/each.h"
#include "tools/mlctl/commands/follow.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/output/human.h"
#include "tools/mlctl/output/local_things.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {
namespace {

std::uint64_t job_number(const std::string& text) { return std::stoull(text); }  // checked when it was parsed

Exit change_each(const Invocation& invocation, admin::Job (AdminClient::*change)(std::uint64_t)) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  std::vector<Row> changed;
  const Exit exit = for_each_name(invocation.texts("JOB"), [&](const std::string& id) {
    changed.push_back(row_of(kJobKind, (client.*change)(job_number(id))));
  });
  invocation.show(kJobKind, changed);
  return exit;
}

std::string text_of_file(const std::string& path) {
  constexpr std::uintmax_t kMost = 1 << 20;
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file)
    throw Error(Code::not_found, "cannot read '" + path + "'", {}, "is the path right, and may you read it?");
  if (bytes > kMost) {
    throw Error(Code::invalid_argument, "'" + path + "' has " + human_bytes(bytes) + ": a job file is a page of TOML",
                {}, "see docs/jobs.md");
  }
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

admin::SubmitJobRequest request_for(const Invocation& invocation) {
  const std::filesystem::path path = invocation.text("FILE");
  const std::string text = text_of_file(path.string());
  const std::string directory = std::filesystem::absolute(path).lexically_normal().parent_path().string();
  if (!is_utf8(directory))
    throw Error(Code::invalid_argument, "the name of the job file's folder is no UTF-8", {}, "move it to another one");
  const job::Submission submission = job::prepare_submission(text, path.filename().string(), directory);
  invocation.detail("a step needs " + human_bytes(submission.memory_bytes) + " of device memory");

  admin::SubmitJobRequest request;
  request.set_name(invocation.has("--name") ? invocation.text("--name") : submission.job.name);
  request.set_specification(text);
  request.set_directory(directory);
  request.set_devices(invocation.has("--devices") ? static_cast<std::uint32_t>(invocation.count("--devices"))
                                                  : submission.job.devices);
  request.set_backend(submission.job.backend);
  request.set_memory_bytes(submission.memory_bytes);
  request.set_priority(invocation.has("--priority") ? static_cast<std::int32_t>(invocation.integer("--priority"))
                                                    : submission.job.priority);
  const std::uint64_t allowed = invocation.has("--deadline")
                                    ? static_cast<std::uint64_t>(invocation.duration("--deadline").count())
                                    : submission.job.deadline_ns;
  if (allowed != 0) request.set_deadline_ns(realtime_ns() + allowed);
  return request;
}

void check_numbers(const Invocation& invocation) {
  if (invocation.has("--priority") &&
      (invocation.integer("--priority") < -100 || invocation.integer("--priority") > 100))
    throw Failure(Exit::usage, "--priority " + invocation.text("--priority") + " is not between -100 and 100", {},
                  "MLE-0001");
  if (invocation.has("--devices") && (invocation.count("--devices") < 1 || invocation.count("--devices") > 1024))
    throw Failure(Exit::usage, "--devices " + invocation.text("--devices") + " is not between 1 and 1024", {},
                  "MLE-0001");
}

}  // namespace

Exit run_job_submit(const Invocation& invocation) {
  check_numbers(invocation);
  // Whether mld runs is known before the file is read and its network traced, which takes a second.
  { const AdminClient there(invocation.text("--socket"), invocation.timeout()); }
  const admin::SubmitJobRequest request = request_for(invocation);
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  const admin::Job job = client.submit(request);
  if (!invocation.has("--follow")) {
    invocation.show(kJobKind, row_of(kJobKind, job));
    return Exit::ok;
  }
  invocation.remark("job " + std::to_string(job.id()));
  return follow_log(invocation, job.id(), true);
}

Exit run_job_list(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  const admin::ListJobsReply reply = client.jobs(invocation.has("--all-users"), invocation.has("--all"));
  invocation.show(kJobKind, rows_of(kJobKind, reply.jobs()));
  return Exit::ok;
}

Exit run_job_show(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  invocation.show(kJobKind, row_of(kJobKind, client.job(job_number(invocation.text("JOB")))));
  return Exit::ok;
}

Exit run_job_logs(const Invocation& invocation) {
  const std::uint64_t id = job_number(invocation.text("JOB"));
  return invocation.has("--follow") ? follow_log(invocation, id, false) : print_log(invocation, id);
}

Exit run_job_why(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  Why why{.job = job_number(invocation.text("JOB"))};
  why.why = client.why(why.job);
  if (invocation.style().format == Format::table)
    write_out(printable(why.why) + '\n');
  else
    invocation.show(kWhyKind, row_of(kWhyKind, why));
  return Exit::ok;
}

Exit run_job_cancel(const Invocation& invocation) { return change_each(invocation, &AdminClient::cancel); }
Exit run_job_pause(const Invocation& invocation) { return change_each(invocation, &AdminClient::pause); }
Exit run_job_resume(const Invocation& invocation) { return change_each(invocation, &AdminClient::resume); }

}  // namespace ml::ctl
