// Runs mlbench against the running mld and shows its figures as they come.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "libmlclient/files/json.h"
#include "libmlclient/transport/unique_fd.h"
#include "tools/mlctl/admin/admin_client.h"
#include "tools/mlctl/commands/commands.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/output/local_things.h"
#include "tools/mlctl/programs.h"
#include "tools/mlctl/table/invocation.h"

extern char** environ;  // NOLINT(readability-redundant-declaration)

namespace ml::ctl {
namespace {

Failure cannot_run(const std::string& program, int error) {
  return {Exit::failure, "cannot run " + program + ": " + std::strerror(error),  // NOLINT(concurrency-mt-unsafe)
          "`mlctl doctor` looks for it", "MLE-0006"};
}

// Its stdout. Throws Failure when it can't be run or fails.
std::string output_of(const std::vector<std::string>& command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw cannot_run(command[0], errno);
  transport::UniqueFd reading(ends[0]), writing(ends[1]);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writing.get(), STDOUT_FILENO);
  pid_t child = -1;
  const int error = posix_spawn(&child, command[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw cannot_run(command[0], error);
  writing.reset();
  std::string text;
  char part[4096];
  for (;;) {
    const ssize_t bytes = read(reading.get(), part, sizeof part);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) break;
    text.append(part, static_cast<std::size_t>(bytes));
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw Failure(Exit::failure, command[0] + " failed (see above)", "`mlctl status` says whether mld is well",
                  "MLE-0015");
  }
  return text;
}

std::string text_of(const files::Json& json, const char* name) {
  const files::Json* member = json.find(name);
  const auto* text = member == nullptr ? nullptr : member->as<std::string>();
  return text == nullptr ? std::string() : *text;
}
double number_of(const files::Json& json, const char* name) {
  const files::Json* member = json.find(name);
  const auto* number = member == nullptr ? nullptr : member->as<double>();
  return number == nullptr ? 0 : *number;
}

void read_figures(const std::string& lines, std::vector<Figure>& figures) {
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t end = std::min(lines.find('\n', at), lines.size());
    const std::string line = lines.substr(at, end - at);
    at = end + 1;
    if (line.empty()) continue;
    const files::Json json = files::parse_json(line);
    figures.push_back({text_of(json, "bench"), text_of(json, "config"), number_of(json, "value"), text_of(json, "unit"),
                       text_of(json, "peer"), number_of(json, "peer_value"), number_of(json, "ratio")});
  }
}

}  // namespace

Exit run_bench(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  const std::string via = "unix:" + client.status().socket();
  const std::string program = find_program("mlbench");
  if (program.empty()) {
    throw Failure(Exit::failure, "mlbench is not beside mlctl, nor in PATH", "`make install` installs it", "MLE-0004");
  }
  std::vector<Figure> figures;
  for (const char* const bench : {"ring", "model"}) {
    std::vector<std::string> command{program};
    if (invocation.has("--quick")) command.emplace_back("--quick");
    command.insert(command.end(), {bench, "--via", via});
    std::string line;
    for (const std::string& word : command) line += (line.empty() ? "" : " ") + word;
    invocation.detail(line);
    read_figures(output_of(command), figures);
  }
  invocation.show(kFigureKind, rows_of(kFigureKind, figures));
  return Exit::ok;
}

}  // namespace ml::ctl
