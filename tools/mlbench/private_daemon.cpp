#include "tools/mlbench/private_daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

#include "libmlclient/transport/unique_fd.h"
#include "ml/error.h"
#include "tools/mlbench/bench.h"
#include "tools/mlbench/installed.h"

extern char** environ;

namespace ml::bench {
namespace {

constexpr int kPatienceMs = 30'000;

[[noreturn]] void refuse(const std::string& what) { throw Error(Code::io, what + ": " + std::strerror(errno)); }

transport::UniqueFd listen_for_ready(const std::string& path) {
  transport::UniqueFd notify(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::ranges::copy(path.substr(0, sizeof address.sun_path - 1), address.sun_path);
  unlink(path.c_str());
  if (!notify || bind(notify.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) refuse(path);
  return notify;
}

bool wait_for_ready(int notify) {
  char text[4096];
  for (pollfd wait{notify, POLLIN, 0}; poll(&wait, 1, kPatienceMs) == 1;) {
    const ssize_t got = recv(notify, text, sizeof text, 0);
    if (got > 0 && std::string_view(text, static_cast<std::size_t>(got)).find("READY=1") != std::string_view::npos)
      return true;
  }
  return false;
}

}  // namespace

TemporaryFolder::TemporaryFolder() : path_(std::filesystem::temp_directory_path() / "mlbench-XXXXXX") {
  if (mkdtemp(path_.data()) == nullptr) refuse(path_);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

PrivateDaemon::PrivateDaemon(const TemporaryFolder& folder, const std::string& toml)
    : socket_(folder.file("mld.sock")) {
  const std::string program = installed_file({"mld", "../sbin/mld"});
  const std::string config = folder.file("mld.toml"), log = folder.file("log"), notify_path = folder.file("notify");
  std::ofstream(config) << toml;
  const transport::UniqueFd notify = listen_for_ready(notify_path);
  std::vector<std::string> arguments{program,    "--user", "--config", config,
                                     "--socket", socket_,  "--state",  folder.file("state")};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  setenv("NOTIFY_SOCKET", notify_path.c_str(), 1);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const uint64_t began = now_ns();
  const int error = posix_spawn(&process_, program.c_str(), &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) throw Error(Code::io, program + ": " + std::strerror(error));
  const bool ready = wait_for_ready(notify.get());
  milliseconds_to_ready_ = static_cast<double>(now_ns() - began) / 1e6;
  if (ready) return;
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
  std::ostringstream said;
  said << std::ifstream(log).rdbuf();
  throw Error(Code::timeout, "mld does not become ready: " + said.str(), program, "start it by hand: mld --user");
}

PrivateDaemon::~PrivateDaemon() {
  kill(process_, SIGTERM);
  waitpid(process_, nullptr, 0);
}

}  // namespace ml::bench
