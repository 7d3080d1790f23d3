// What completion scripts ask: names, one a line, within 200 ms. Nothing is said when they can't be had.
#include <pwd.h>

#include "daemon/admin/codes.h"
#include "tools/mlctl/admin/admin_client.h"
#include "tools/mlctl/commands/commands.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/generate/generate.h"
#include "tools/mlctl/output/human.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {
namespace {

// Of 200 ms, so that starting this program has its share too.
constexpr std::chrono::milliseconds kPatience(150);

std::vector<std::string> names(const Invocation& invocation, const std::string& kind) {
  std::vector<std::string> out;
  if (kind == "code") {
    for (const daemon::ErrorPage& page : daemon::error_pages()) out.emplace_back(page.code);
    return out;
  }
  if (kind == "user") {
    setpwent();
    while (const passwd* const entry = getpwent()) out.emplace_back(entry->pw_name);  // NOLINT(concurrency-mt-unsafe)
    endpwent();
    return out;
  }
  AdminClient client(invocation.text("--socket"), kPatience);
  if (kind == "device") {
    const admin::ListDevicesReply reply = client.devices();
    for (const admin::Device& device : reply.devices()) out.push_back(device.name());
  } else if (kind == "model") {
    const admin::ListModelsReply reply = client.models();
    for (const admin::ModelVersion& model : reply.models()) {
      for (std::string name : {model.name(), model.owner() + '/' + model.name()}) {
        out.push_back(name);
        out.push_back(name + ':' + std::to_string(model.version()));
        name += '@';
        for (const std::string& alias : model.aliases()) out.push_back(name + alias);
      }
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
  } else if (kind == "job") {
    const admin::ListJobsReply reply = client.jobs(false, true);
    for (const admin::Job& job : reply.jobs()) out.push_back(std::to_string(job.id()));
  } else if (kind == "client") {
    const admin::ListClientsReply reply = client.clients(false);
    for (const admin::Client& session : reply.clients()) out.push_back(std::to_string(session.session()));
  }
  return out;
}

}  // namespace

Exit run_complete(const Invocation& invocation) {
  try {
    for (const std::string& name : names(invocation, invocation.text("KIND")))
      if (name == printable(name)) write_out(name + '\n');
    return Exit::ok;
  } catch (const Failure& failure) {
    return failure.exit;  // a shell that completes wants no message between its lines
  }
}

Exit run_completion(const Invocation& invocation) {
  write_out(completion_script(invocation.text("SHELL")));
  return Exit::ok;
}

}  // namespace ml::ctl
