// How long mld takes from exec to ready: what a service manager waits for.
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
#include <string>
#include <string_view>
#include <vector>

#include "ml/error.h"
#include "tools/mlbench/benchmarks.h"
#include "tools/mlbench/installed.h"

extern char** environ;

namespace ml::bench {

namespace {

constexpr int kPatienceMs = 30'000;

[[noreturn]] void refuse(const std::string& what) { throw Error(Code::io, what + ": " + std::strerror(errno)); }

class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / "mlbench-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) refuse(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string file(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// One start in a folder: the state is made on the first and found on later ones.
double start_once(const std::string& program, const Folder& folder) {
  const int notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = folder.file("notify");
  std::ranges::copy(path.substr(0, sizeof address.sun_path - 1), address.sun_path);
  unlink(path.c_str());
  if (notify < 0 || bind(notify, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) refuse(path);

  std::vector<std::string> arguments{program,    "--user",         "--config", folder.file("mld.toml"),
                                     "--socket", folder.file("s"), "--state",  folder.file("state")};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  setenv("NOTIFY_SOCKET", path.c_str(), 1);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, folder.file("log").c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                   0600);
  const uint64_t began = now_ns();
  pid_t process = -1;
  const int error = posix_spawn(&process, program.c_str(), &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) {
    close(notify);
    throw Error(Code::io, program + ": " + std::strerror(error));
  }
  bool ready = false;
  char text[4096];
  for (pollfd wait{notify, POLLIN, 0}; !ready && poll(&wait, 1, kPatienceMs) == 1;) {
    const ssize_t got = recv(notify, text, sizeof text, 0);
    ready = got > 0 && std::string_view(text, static_cast<std::size_t>(got)).find("READY=1") != std::string_view::npos;
  }
  const double milliseconds = static_cast<double>(now_ns() - began) / 1e6;
  kill(process, ready ? SIGTERM : SIGKILL);
  waitpid(process, nullptr, 0);
  close(notify);
  if (!ready) throw Error(Code::timeout, "mld does not become ready", program, "start it by hand: mld --user");
  return milliseconds;
}

}  // namespace

int run_start(const Options& options) {
  const std::string program = installed_file({"mld", "../sbin/mld"});
  const Folder folder;
  std::vector<double> times;
  for (int i = 0; i < (options.quick ? 5 : 50); ++i) times.push_back(start_once(program, folder));
  const double first = times.front();
  print({.bench = "start.first", .config = "mld --user, empty state", .value = first, .unit = "ms"});
  print({.bench = "start", .config = "mld --user stat=median", .value = quantile(times, 0.5), .unit = "ms"});
  print({.bench = "start", .config = "mld --user stat=p95", .value = quantile(times, 0.95), .unit = "ms"});
  return 0;
}

}  // namespace ml::bench
