#include "tests/system/support/daemon.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <system_error>

#include "tests/system/support/kernel_nodes.h"

namespace ml::test {
namespace {

// A datagram socket like the one systemd gives to a service of Type=notify.
transport::UniqueFd notify_socket(const std::string& path) {
  transport::UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error(path + " is too long for a socket");
  std::memcpy(address.sun_path, path.c_str(), path.size());
  if (!fd || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw std::system_error(errno, std::generic_category(), path);
  return fd;
}

// What a worker of another user needs: to get at the programs.
void check_searchable(const std::string& program) {
  for (std::filesystem::path at = program; at != at.root_path(); at = at.parent_path()) {
    struct stat status {};
    if (stat(at.c_str(), &status) != 0) throw std::system_error(errno, std::generic_category(), at);
    if ((status.st_mode & S_IXOTH) == 0)
      throw std::runtime_error(
          at.string() + " is closed to other users, and this test's workers run as one: chmod o+x " + at.string());
  }
}

}  // namespace

std::string program_path(std::string_view name) { return std::string(ML_TEST_BIN) + "/" + std::string(name); }

Daemon::Daemon(DaemonOptions options, Stopped)
    : options_(std::move(options)), scratch_(options_.system), notify_(notify_socket(scratch_.file("notify"))) {
  if (options_.system) {
    need_root();
    check_searchable(program_path("mld"));
  }
  write_config(options_.toml);
}

Daemon::Daemon(DaemonOptions options) : Daemon(std::move(options), Stopped{}) { start(); }

Daemon::~Daemon() {
  if (program_) program_->process().kill();
  if (testing::Test::HasFailure()) std::cerr << "---- log of mld in " << directory() << "\n" << log() << "----\n";
}

Process& Daemon::process() {
  if (!program_) throw std::runtime_error("mld was not started");
  return program_->process();
}

bool Daemon::through_kernel() {
  const char* const kernel = std::getenv("ML_TEST_KERNEL");
  return kernel != nullptr && *kernel != '\0';
}

// Where the module is loaded only those tests use it that mean to.
void Daemon::write_config(std::string_view toml) const {
  std::error_code none;
  const bool off =
      !through_kernel() && toml.find("kernel = ") == toml.npos && std::filesystem::exists("/dev/mlaccel-control", none);
  scratch_.write("mld.toml", (off ? "kernel = \"off\"\n" : "") + std::string(toml));
}

std::string Daemon::transport() const {
  if (!through_kernel()) return "unix:" + socket();
  const std::optional<std::uint32_t> minor = kernel_minor();
  if (!minor) throw std::runtime_error("mld has no device in the kernel module; its log:\n" + log());
  return "kernel:" + std::to_string(*minor);
}

void Daemon::launch() {
  if (program_ && program_->process().running()) throw std::runtime_error("mld runs already");
  read_notifications();
  notifications_.clear();
  Command command;
  command.arguments = options_.wrapper;
  command.arguments.push_back(program_path("mld"));
  if (!options_.system) command.arguments.emplace_back("--user");
  command.arguments.insert(command.arguments.end(), {"--config", config(), "--socket", socket(), "--state", state()});
  command.arguments.insert(command.arguments.end(), options_.arguments.begin(), options_.arguments.end());
  command.environment = {{"NOTIFY_SOCKET", scratch_.file("notify")},
                         {"XDG_RUNTIME_DIR", directory()},
                         {"XDG_STATE_HOME", scratch_.file("state-home")},
                         {"XDG_CONFIG_HOME", scratch_.file("config-home")},
                         {"MLACCEL", ""}};
  command.environment.insert(command.environment.end(), options_.environment.begin(), options_.environment.end());
  command.directory = directory();
  command.output = log_path();
  program_ = std::make_unique<Program>(command);
}

std::optional<Ended> Daemon::start_refused() {
  const auto began = std::chrono::steady_clock::now();
  launch();
  for (const Deadline deadline(kPatience); !deadline.passed();) {
    if (notified("READY=1", Milliseconds(20))) {
      start_time_ = std::chrono::steady_clock::now() - began;
      return {};
    }
    if (const std::optional<Ended> ended = process().wait(Milliseconds(0))) return ended;
  }
  throw std::runtime_error("mld neither becomes ready nor ends; its log:\n" + log());
}

void Daemon::start() {
  if (const std::optional<Ended> ended = start_refused())
    throw std::runtime_error("mld ended with " + ended->describe() + " instead of becoming ready; its log:\n" + log());
}

Ended Daemon::terminate(Milliseconds within) {
  signal(SIGTERM);
  const std::optional<Ended> ended = wait(within);
  if (!ended) throw std::runtime_error("mld does not end on SIGTERM; its log:\n" + log());
  return *ended;
}

void Daemon::kill() { process().kill(); }

void Daemon::restart() {
  kill();
  start();
}

std::vector<pid_t> Daemon::workers() {
  std::vector<pid_t> found;
  for (const ProcessEntry& child : children()) {
    if (child.name == "mld-worker") found.push_back(child.pid);
  }
  return found;
}

bool Daemon::read_notifications() {
  char text[4096];
  const ssize_t got = recv(notify_.get(), text, sizeof text, 0);
  if (got <= 0) return false;
  std::string_view rest(text, static_cast<std::size_t>(got));
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    notifications_.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return true;
}

bool Daemon::notified(std::string_view line, Milliseconds within) {
  for (const Deadline deadline(within);;) {
    while (read_notifications()) {
    }
    if (std::ranges::find(notifications_, line) != notifications_.end()) return true;
    if (deadline.passed()) return false;
    readable(notify_.get(), Milliseconds(deadline.left_ms()));
  }
}

bool Daemon::logged(std::string_view text, Milliseconds within) const {
  return eventually([&] { return log().find(text) != std::string::npos; }, within);
}

}  // namespace ml::test
