#include "tools/mlbench/peer_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "ml/error.h"
#include "tools/mlbench/bench.h"

extern char** environ;

namespace ml::bench {

PeerProcess::PeerProcess(std::vector<std::string> arguments) : name_(arguments[0]) {
  int input[2], output[2];
  if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0) throw Error(Code::io, "no pipe for a peer");
  to_ = fdopen(input[1], "w");
  from_ = fdopen(output[0], "r");
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, input[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, output[1], STDOUT_FILENO);
  started_ = now_ns();
  const int error = posix_spawn(&process_, argv[0], &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  close(input[0]);
  close(output[1]);
  if (error == 0) return;
  std::fclose(to_);
  std::fclose(from_);
  throw Error(Code::io, std::string("cannot be started: ") + std::strerror(error), name_);
}

PeerProcess::~PeerProcess() {
  if (to_ != nullptr) std::fclose(to_);
  if (from_ != nullptr) std::fclose(from_);
  if (process_ > 0) waitpid(process_, nullptr, 0);
}

std::optional<std::string> PeerProcess::read_line() {
  char* line = nullptr;
  std::size_t room = 0;
  const ssize_t length = getline(&line, &room, from_);
  std::optional<std::string> text;
  if (length > 0) text.emplace(line, static_cast<std::size_t>(line[length - 1] == '\n' ? length - 1 : length));
  std::free(line);
  return text;
}

void PeerProcess::write_line(const std::string& line) {
  std::fprintf(to_, "%s\n", line.c_str());
  std::fflush(to_);
}

std::string PeerProcess::ask(const std::string& line) {
  write_line(line);
  std::optional<std::string> answer = read_line();
  if (!answer) throw Error(Code::io, "the peer is gone", name_);
  return std::move(*answer);
}

std::uint64_t PeerProcess::cpu_time() const {
  std::uint64_t total = 0;
  for (const std::filesystem::path& thread : threads()) {
    std::uint64_t ran = 0;
    std::ifstream(thread / "schedstat") >> ran;
    total += ran;
  }
  return total;
}

std::vector<std::filesystem::path> PeerProcess::threads() const {
  std::vector<std::filesystem::path> all;
  std::error_code gone;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(process_) + "/task", gone))
    all.push_back(thread.path());
  return all;
}

// Whether a thread runs, or would if it got a CPU.
bool PeerProcess::runs() const {
  return std::ranges::any_of(threads(), [](const std::filesystem::path& thread) {
    std::string stat;
    std::getline(std::ifstream(thread / "stat"), stat);
    const std::size_t name_end = stat.rfind(')');  // "(name) R"
    return name_end != std::string::npos && stat.compare(name_end, 3, ") R") == 0;
  });
}

void PeerProcess::settle() const {
  constexpr int kQuietMs = 3, kPatienceMs = 10'000;
  std::uint64_t before = cpu_time();
  for (int waited = 0; waited < kPatienceMs; waited += kQuietMs) {
    poll(nullptr, 0, kQuietMs);
    const std::uint64_t now = cpu_time();
    if (now == before && !runs()) return;
    before = now;
  }
  throw Error(Code::timeout, "the peer does not fall asleep between its turns", name_);
}

std::uint64_t PeerProcess::peak_bytes() const {
  std::ifstream status("/proc/" + std::to_string(process_) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
  }
  throw Error(Code::io, "its memory cannot be read", name_);
}

std::vector<std::string> PeerProcess::mapped_files() const {
  std::vector<std::string> files;
  std::ifstream maps("/proc/" + std::to_string(process_) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    const std::size_t at = line.find('/');
    if (at != std::string::npos && std::filesystem::is_regular_file(line.substr(at))) files.push_back(line.substr(at));
  }
  std::ranges::sort(files);
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

int PeerProcess::exit_status() {
  int status = 0;
  waitpid(std::exchange(process_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

}  // namespace ml::bench
