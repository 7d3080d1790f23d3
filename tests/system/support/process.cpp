#include "tests/system/support/process.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <system_error>

#include "tests/system/support/scratch.h"

namespace ml::test {
namespace {

using transport::UniqueFd;

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

// In a child: end with a text that the parent's log shows.
[[noreturn]] void die(const char* step) {
  dprintf(STDERR_FILENO, "%s: %s\n", step, std::strerror(errno));
  _exit(127);
}

void become(const User& user) {
  if (setgroups(user.groups.size(), user.groups.data()) != 0) die("setgroups");
  if (setresgid(user.gid, user.gid, user.gid) != 0) die("setresgid");
  if (setresuid(user.uid, user.uid, user.uid) != 0) die("setresuid");
  if (prctl(PR_SET_DUMPABLE, 1) != 0) die("PR_SET_DUMPABLE");  // /proc/self stays readable
}

// What every child does first. `parent` is who forked it: it may be gone before the death signal is set.
void tie_to_parent(pid_t parent) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) die("PR_SET_PDEATHSIG");
  if (getppid() != parent) _exit(127);
}

UniqueFd kept_output() {
  UniqueFd fd(memfd_create("output", MFD_CLOEXEC));
  if (!fd) fail("memfd_create");
  return fd;
}

std::string contents(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) fail("fstat");
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  const ssize_t got = pread(fd, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

std::vector<std::string> environment_of(const Command& command) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    bool replaced = false;
    for (const auto& [other, value] : command.environment) replaced = replaced || other == name;
    if (!replaced) all.emplace_back(text);
  }
  for (const auto& [name, value] : command.environment) {
    if (value.empty()) continue;
    all.push_back(name);
    all.back().append("=").append(value);
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  list.reserve(texts.size() + 1);
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

pid_t start(const Command& command, int out, int err) {
  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> environment = environment_of(command);
  const std::vector<char*> argv = pointers(arguments), envp = pointers(environment);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid > 0) return pid;
  if (command.user) become(*command.user);
  tie_to_parent(parent);  // a change of ids clears it
  const int null = open("/dev/null", O_RDONLY);
  if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
    die("redirecting");
  if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) die("close_range");
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (!command.directory.empty() && chdir(command.directory.c_str()) != 0) die(command.directory.c_str());
  execvpe(argv[0], argv.data(), envp.data());
  die(argv[0]);
}

}  // namespace

bool Ended::with(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
bool Ended::by_signal(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }

std::string Ended::describe() const {
  if (WIFEXITED(status)) return "exit code " + std::to_string(WEXITSTATUS(status));
  return "signal " + std::to_string(WTERMSIG(status)) + " (" + strsignal(WTERMSIG(status)) + ")";
}

Process::Process(pid_t pid) : pid_(pid), pidfd_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {
  if (!pidfd_) fail("pidfd_open");
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)), ended_(other.ended_) {}

Process::~Process() {
  if (pid_ > 0) kill();
}

bool Process::running() { return !wait(Milliseconds(0)); }

void Process::signal(int number) {
  if (!ended_ && ::kill(pid_, number) != 0) fail("kill");
}

std::optional<Ended> Process::wait(Milliseconds within) {
  if (!ended_ && readable(pidfd_.get(), within)) {
    Ended end;
    if (waitpid(pid_, &end.status, 0) != pid_) fail("waitpid");
    ended_ = end;
  }
  return ended_;
}

Ended Process::kill() {
  if (!ended_) {
    ::kill(pid_, SIGKILL);
    wait();
  }
  return ended_.value_or(Ended{});
}

Program::Program(const Command& command)
    : out_(command.output.empty()
               ? kept_output()
               : UniqueFd(open(command.output.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644))),
      err_(command.output.empty() ? kept_output() : UniqueFd(dup(out_.get()))),
      process_(start(command, out_.get(), err_.get())) {
  if (!out_ || !err_) fail(command.output);
}

std::string Program::out() const { return contents(out_.get()); }
std::string Program::err() const { return contents(err_.get()); }

Finished run_program(const Command& command, Milliseconds within) {
  Program program(command);
  const std::optional<Ended> ended = program.process().wait(within);
  if (!ended) {
    std::string line;
    for (const std::string& argument : command.arguments) line += argument + " ";
    throw std::runtime_error(line + "does not end; it said\n" + program.out() + program.err());
  }
  return {*ended, program.out(), program.err()};
}

namespace {

// The first character of what goes through the pipe says whether body answered or threw.
constexpr char kAnswered = '+', kThrew = '-';

pid_t fork_body(const std::optional<User>& user, const std::function<std::string()>& body, int pipe) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid > 0) return pid;
  if (user) become(*user);
  tie_to_parent(parent);
  std::string text;
  try {
    text = kAnswered + body();
  } catch (const std::exception& error) {
    text = kThrew + std::string(error.what());
  }
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t wrote = write(pipe, text.data() + at, text.size() - at);
    if (wrote < 0) die("writing the answer");
    at += static_cast<std::size_t>(wrote);
  }
  _exit(0);
}

struct Pipe {
  UniqueFd read, write;
};
Pipe make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace

Forked::Forked(std::optional<User> user, const std::function<std::string()>& body)
    : process_([&] {
        Pipe ends = make_pipe();
        pipe_ = std::move(ends.read);
        return fork_body(user, body, ends.write.get());
      }()) {}

std::string Forked::answer(Milliseconds within) {
  const Deadline deadline(within);
  std::string text;
  for (;;) {
    if (!readable(pipe_.get(), Milliseconds(deadline.left_ms())))
      throw std::runtime_error("a forked function does not end");
    char part[4096];
    const ssize_t got = read(pipe_.get(), part, sizeof part);
    if (got <= 0) break;
    text.append(part, static_cast<std::size_t>(got));
  }
  const std::optional<Ended> ended = process_.wait(Milliseconds(deadline.left_ms()));
  if (!ended || !ended->with(0) || text.empty())
    throw std::runtime_error("a forked function ended with " + (ended ? ended->describe() : "nothing"));
  if (text[0] == kThrew) throw std::runtime_error(text.substr(1));
  return text.substr(1);
}

std::string run_as(uid_t uid, gid_t gid, const std::function<std::string()>& body) {
  return Forked(User{uid, gid}, body).answer();
}

namespace {

struct Stat {
  std::string name;
  char state;
  pid_t parent;
};
// "pid (comm) state ppid ...": comm may hold anything, so look from its last bracket on.
std::optional<Stat> stat_of(pid_t pid) {
  const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t open = stat.find('('), close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close + 4 > stat.size()) return {};
  return Stat{stat.substr(open + 1, close - open - 1), stat[close + 2], std::atoi(stat.c_str() + close + 4)};
}

}  // namespace

std::vector<ProcessEntry> children_of(pid_t parent) {
  std::vector<ProcessEntry> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc{} || end != name.data() + name.size()) continue;
    const std::optional<Stat> stat = stat_of(pid);
    if (stat && stat->state != 'Z' && stat->parent == parent) found.push_back({pid, parent, stat->name});
  }
  return found;
}

bool alive(pid_t pid) {
  const std::optional<Stat> stat = stat_of(pid);
  return stat && stat->state != 'Z' && stat->state != 'X';
}

void need_root() {
  if (geteuid() != 0)
    throw std::runtime_error(
        "this test acts as several users and needs root; leave such tests out with `ctest -LE root` "
        "(CONTRIBUTING.md)");
}

}  // namespace ml::test
