#include "tests/system/support/mlctl.h"

#include <stdexcept>

namespace ml::test {
namespace {

Command command_of(const Daemon& daemon, const std::vector<std::string>& arguments, std::optional<User> user) {
  Command command;
  command.arguments = {program_path("mlctl"), "--socket", daemon.admin_socket()};
  command.arguments.insert(command.arguments.end(), arguments.begin(), arguments.end());
  // mlctl is a client too (`model infer`): of this daemon.
  command.environment = {{"MLACCEL", daemon.transport()}, {"XDG_RUNTIME_DIR", daemon.directory()}};
  command.user = std::move(user);
  return command;
}

}  // namespace

Finished mlctl(const Daemon& daemon, const std::vector<std::string>& arguments, std::optional<User> user) {
  return run_program(command_of(daemon, arguments, std::move(user)));
}

std::string mlctl_out(const Daemon& daemon, const std::vector<std::string>& arguments, std::optional<User> user) {
  const Finished finished = mlctl(daemon, arguments, std::move(user));
  if (!finished.ended.with(0)) {
    std::string line = "mlctl";
    for (const std::string& argument : arguments) line += " " + argument;
    throw std::runtime_error(line + ": " + finished.ended.describe() + "\n" + finished.out + finished.err);
  }
  return finished.out;
}

Program start_mlctl(const Daemon& daemon, const std::vector<std::string>& arguments, std::optional<User> user) {
  return Program(command_of(daemon, arguments, std::move(user)));
}

}  // namespace ml::test
