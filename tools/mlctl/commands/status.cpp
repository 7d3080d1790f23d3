// status, limits, clients: what mld answers, shown.
#include <pwd.h>

#include <charconv>

#include "tools/mlctl/admin/admin_client.h"
#include "tools/mlctl/commands/commands.h"
#include "tools/mlctl/commands/each.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/output/human.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {
namespace {

std::uint32_t uid_of(const std::string& user) {
  std::uint32_t uid = 0;
  const auto [end, error] = std::from_chars(user.data(), user.data() + user.size(), uid);
  if (error == std::errc() && end == user.data() + user.size()) return uid;
  const passwd* const entry = getpwnam(user.c_str());  // NOLINT(concurrency-mt-unsafe): one thread
  if (entry == nullptr)
    throw Failure(Exit::unknown_object, "there is no user '" + user + "'", "name one, or give a user id", "MLE-0004");
  return entry->pw_uid;
}

}  // namespace

Exit run_status(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  invocation.detail("asked " + client.socket());
  const admin::StatusReply status = client.status();
  invocation.show(kStatusKind, row_of(kStatusKind, status));
  for (const std::string& problem : status.problems()) invocation.remark("problem: " + printable(problem));
  return Exit::ok;
}

Exit run_limits(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  const admin::ShowLimitsReply reply =
      invocation.has("--user") ? client.limits(uid_of(invocation.text("--user"))) : client.limits();
  invocation.detail("limits of " + printable(reply.owner()) + " (" + std::to_string(reply.uid()) + ")");
  invocation.show(kLimitKind, rows_of(kLimitKind, reply.limits()));
  return Exit::ok;
}

Exit run_client_list(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  invocation.show(kClientKind, rows_of(kClientKind, client.clients(invocation.has("--all-users")).clients()));
  return Exit::ok;
}

Exit run_client_kick(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  return for_each_name(invocation.texts("SESSION"), [&](const std::string& session) {
    client.kick(std::stoull(session));
    invocation.remark("session " + session + " has ended");
  });
}

}  // namespace ml::ctl
