#include <filesystem>
#include <span>
#include <string>

#include "ml/model.h"
#include "ml/session.h"
#include "tools/mlctl/admin/admin_client.h"
#include "tools/mlctl/commands/commands.h"
#include "tools/mlctl/commands/session.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {

void open_session(const Invocation& invocation) {
  const std::string path = AdminClient(invocation.text("--socket"), invocation.timeout()).status().socket();
  const Session session = connect({.transport = "unix:" + path});
  invocation.detail("transport " + session.transport() + ", device " + session.device());
}

namespace {

Model read(const std::filesystem::path& file, std::span<const std::string> functions) {
  if (file.extension() == ".onnx") return load_onnx(file.string(), {.functions = {functions.begin(), functions.end()}});
  if (!functions.empty()) {
    throw Failure(Exit::usage, "--functions with '" + file.string() + "'", "it is for models in .onnx files",
                  "MLE-0001");
  }
  return Model::load(file.string());
}

}  // namespace

Exit run_model_import(const Invocation& invocation) {
  const std::filesystem::path file = invocation.text("FILE");
  std::string name = invocation.text("--name");
  if (name.empty()) name = file.stem().string();
  open_session(invocation);  // the file's weights may already be computed with
  const Model model = read(file, invocation.texts("--functions"));
  invocation.detail("read '" + file.string() + "': " + std::to_string(model.inputs().size()) + " inputs, " +
                    std::to_string(model.outputs().size()) + " outputs");
  const std::uint64_t version = model.publish(name, invocation.has("--shared"));
  invocation.detail("registered as " + name + ':' + std::to_string(version));

  AdminClient client(invocation.text("--socket"), invocation.timeout());
  const admin::ListModelsReply reply = client.models(name + ':' + std::to_string(version));
  if (reply.models().empty())
    throw Failure(Exit::unknown_object, name + ':' + std::to_string(version) + " is gone again", "`mlctl model ls`",
                  "MLE-0202");
  invocation.show(kModelKind, row_of(kModelKind, reply.models(0)));
  return Exit::ok;
}

}  // namespace ml::ctl
