// Writes what is made from the command table: called when mlctl is built, and by the tests.
#include <filesystem>
#include <fstream>

#include "tools/mlctl/commands/commands.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/generate/generate.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {
namespace {

Generated generated(const std::string& what) {
  if (what == "man") return man_pages();
  if (what == "schemas") return schemas();
  if (what == "docs") return {{"mlctl.md", reference()}};
  if (what == "table") return {{"table.json", table_as_json()}};
  if (what == "completions")
    return {{"mlctl.bash", bash_completion()}, {"_mlctl", zsh_completion()}, {"mlctl.fish", fish_completion()}};
  throw Failure(Exit::usage, "'" + what + "' is nothing that is generated", "man, completions, docs, schemas or table",
                "MLE-0001");
}

}  // namespace

Exit run_generate(const Invocation& invocation) {
  const std::filesystem::path folder = invocation.text("DIRECTORY");
  std::filesystem::create_directories(folder);
  for (const auto& [name, text] : generated(invocation.text("WHAT"))) {
    std::ofstream file(folder / name, std::ios::binary | std::ios::trunc);
    if (!(file << text).flush()) throw Error(Code::io, "cannot write '" + (folder / name).string() + "'");
  }
  return Exit::ok;
}

}  // namespace ml::ctl
