#include "tools/mlctl/admin/admin_client.h"
#include "tools/mlctl/commands/commands.h"
#include "tools/mlctl/commands/each.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {
namespace {

using Change = admin::ModelVersion (AdminClient::*)(const std::string& reference, const std::string& argument);

Exit change_each(const Invocation& invocation, Change change) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  std::vector<Row> changed;
  const Exit exit = for_each_name(invocation.texts("MODEL"), [&](const std::string& reference) {
    changed.push_back(row_of(kModelKind, (client.*change)(reference, invocation.text("--device"))));
  });
  invocation.show(kModelKind, changed);
  return exit;
}

Exit move_alias(const Invocation& invocation, Change change) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  const admin::ModelVersion model = (client.*change)(invocation.text("MODEL"), invocation.text("--alias"));
  invocation.show(kModelKind, row_of(kModelKind, model));
  return Exit::ok;
}

}  // namespace

Exit run_model_list(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  invocation.show(kModelKind, rows_of(kModelKind, client.models(invocation.text("MODEL")).models()));
  return Exit::ok;
}

Exit run_model_show(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  const std::string reference = invocation.text("MODEL");
  const admin::ListModelsReply reply = client.models(reference);
  // A bare name stands for all its versions; the one that it means has the alias.
  const admin::ModelVersion* meant = nullptr;
  for (const admin::ModelVersion& model : reply.models()) {
    const bool latest = std::find(model.aliases().begin(), model.aliases().end(), "latest") != model.aliases().end();
    if (meant == nullptr || latest) meant = &model;
  }
  if (meant == nullptr) {
    throw Failure(Exit::unknown_object, "there is no model '" + reference + "'", "`mlctl model ls` lists those you see",
                  "MLE-0202");
  }
  invocation.show(kModelKind, row_of(kModelKind, *meant));
  return Exit::ok;
}

Exit run_model_load(const Invocation& invocation) { return change_each(invocation, &AdminClient::load); }
Exit run_model_unload(const Invocation& invocation) { return change_each(invocation, &AdminClient::unload); }
Exit run_model_promote(const Invocation& invocation) { return move_alias(invocation, &AdminClient::promote); }
Exit run_model_rollback(const Invocation& invocation) { return move_alias(invocation, &AdminClient::rollback); }

}  // namespace ml::ctl
