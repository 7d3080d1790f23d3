#include "daemon/process/spawn.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "ml/error.h"

namespace ml::daemon {
namespace {

using transport::UniqueFd;

struct Pipe {
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    read = UniqueFd(ends[0]);
    write = UniqueFd(ends[1]);
  }
  UniqueFd read, write;
};

int end_of(const Child& child) {
  int status = -1;
  EXPECT_EQ(waitpid(child.pid, &status, 0), child.pid);
  return status;
}

std::string read_all(int fd) {
  std::string text;
  char part[4096];
  for (ssize_t got; (got = read(fd, part, sizeof part)) > 0;) text.append(part, static_cast<std::size_t>(got));
  return text;
}

// What a shell script prints when it is spawned with these options.
std::string output_of(const std::string& script, SpawnOptions options = {}) {
  Pipe out;
  options.program = "/bin/sh";
  options.arguments = {"-c", script};
  options.environment.push_back("PATH=/usr/bin:/bin");
  options.fds.emplace_back(out.write.get(), 1);
  const Child child = spawn(options);
  out.write.reset();
  std::string text = read_all(out.read.get());
  EXPECT_EQ(end_of(child), 0) << text;
  return text;
}

std::map<std::string, std::string> status_of(SpawnOptions options = {}) {
  std::istringstream lines(output_of("cat /proc/self/status", std::move(options)));
  std::map<std::string, std::string> fields;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    const std::size_t value = line.find_first_not_of(" \t", colon + 1);
    if (colon != std::string::npos)
      fields[line.substr(0, colon)] = value == std::string::npos ? "" : line.substr(value);
  }
  return fields;
}

Error failure_of(const SpawnOptions& options) {
  try {
    end_of(spawn(options));
  } catch (const Error& error) {
    return error;
  }
  return Error(Code::internal, "it did not fail");
}

std::string new_folder() {
  std::string folder = testing::TempDir() + "spawn_test.XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) std::abort();
  return folder;
}

// Identities need root; what is not root can only be itself.
bool root() { return geteuid() == 0; }
constexpr uid_t kSomebody = 12345;
constexpr gid_t kSomeGroup = 23456;
Identity somebody() { return {kSomebody, kSomeGroup, {kSomeGroup, 34567}}; }

TEST(Spawn, GivesArgumentsAndExactlyTheEnvironment) {
  setenv("ML_TEST_NOT_FOR_CHILDREN", "1", 1);
  SpawnOptions options;
  options.environment = {"ONLY=this one"};
  EXPECT_EQ(output_of("echo \"$ONLY\"; echo \"[$ML_TEST_NOT_FOR_CHILDREN]\"; pwd", options), "this one\n[]\n/\n");
}

TEST(Spawn, ClosesEverythingButWhatIsNamed) {
  // Without close-on-exec, low, high and in between.
  std::vector<UniqueFd> leaks;
  for (int i = 0; i < 20; ++i) leaks.emplace_back(open("/dev/null", O_RDONLY));
  leaks.emplace_back(fcntl(leaks[0].get(), F_DUPFD, 700));
  Pipe other;
  SpawnOptions options;
  options.fds = {{other.read.get(), 5}, {other.write.get(), 9}};
  // ls itself has one descriptor of the folder open.
  EXPECT_EQ(output_of("exec ls /proc/self/fd | tr '\\n' ' '", options), "0 1 2 3 5 9 ");
  EXPECT_EQ(output_of("for fd in 0 2; do readlink /proc/$$/fd/$fd; done"), "/dev/null\n/dev/null\n");
}

TEST(Spawn, PlacesDescriptorsWhoseNumbersOverlap) {
  // Each target is another's source, and the child's numbers include those of the pipe that reports errors.
  std::vector<Pipe> pipes(4);
  std::vector<int> numbers;
  for (const Pipe& pipe : pipes) numbers.push_back(pipe.write.get());
  SpawnOptions options;
  std::string script;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const int target = numbers[(i + 1) % numbers.size()];
    options.fds.emplace_back(numbers[i], target);
    script += "echo pipe" + std::to_string(i) + " >/proc/self/fd/" + std::to_string(target) + ";";
  }
  for (int target = 20; target < 40; ++target) options.fds.emplace_back(numbers[0], target);
  output_of(script, options);
  for (std::size_t i = 0; i < pipes.size(); ++i) {
    pipes[i].write.reset();
    EXPECT_EQ(read_all(pipes[i].read.get()), "pipe" + std::to_string(i) + "\n");
  }
}

TEST(Spawn, OneDescriptorMayHaveTwoNumbers) {
  Pipe both;
  SpawnOptions options;
  options.fds = {{both.write.get(), 3}, {both.write.get(), 4}};
  output_of("echo a >&3; echo b >&4", options);
  both.write.reset();
  EXPECT_EQ(read_all(both.read.get()), "a\nb\n");
}

TEST(Spawn, LeaksNothingHere) {
  const auto count = [] {
    const std::filesystem::directory_iterator fds("/proc/self/fd");
    return std::distance(begin(fds), end(fds));
  };
  SpawnOptions failing;
  failing.program = "/nowhere/at/all";
  const auto before = count();
  for (int i = 0; i < 10; ++i) {
    failure_of(failing);
    output_of("true");
  }
  EXPECT_EQ(count(), before);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);  // no child is left either
  EXPECT_EQ(errno, ECHILD);
}

TEST(Spawn, DropsPrivilegesAndSaysSo) {
  const auto status = status_of();
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"}) EXPECT_EQ(status.at(set), "0000000000000000") << set;
  if (root()) {
    EXPECT_EQ(status.at("CapBnd"), "0000000000000000");
  }
  EXPECT_EQ(status.at("NoNewPrivs"), "1");
}

TEST(Spawn, BecomesSomebodyElse) {
  SpawnOptions options;
  if (!root()) {
    options.program = "/bin/true";
    options.identity = somebody();
    const Error error = failure_of(options);
    EXPECT_EQ(error.code(), Code::io);
    EXPECT_NE(error.message().find("setting groups: Operation not permitted"), std::string::npos) << error.what();
    return;
  }
  options.identity = somebody();
  const auto status = status_of(options);
  EXPECT_EQ(status.at("Uid"), "12345\t12345\t12345\t12345");
  EXPECT_EQ(status.at("Gid"), "23456\t23456\t23456\t23456");
  EXPECT_EQ(status.at("Groups"), "23456 34567 ");
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"})
    EXPECT_EQ(status.at(set), "0000000000000000") << set;
}

TEST(Spawn, EntersTheFolderAsThatUser) {
  const std::string folder = new_folder();
  SpawnOptions options;
  options.directory = folder;
  EXPECT_EQ(output_of("pwd", options), folder + "\n");
  if (root()) {
    options.identity = somebody();
    options.program = "/bin/true";
    ASSERT_EQ(chmod(folder.c_str(), 0700), 0);
    const Error error = failure_of(options);
    EXPECT_NE(error.message().find("entering its folder '"), std::string::npos) << error.what();
    EXPECT_NE(error.message().find("Permission denied"), std::string::npos) << error.what();
  }
  rmdir(folder.c_str());
}

TEST(Spawn, ResetsSignals) {
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  auto* const handler = signal(SIGPIPE, SIG_IGN);
  const auto status = status_of();
  signal(SIGPIPE, handler);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(status.at("SigBlk"), "0000000000000000");
  EXPECT_EQ(status.at("SigIgn"), "0000000000000000");
}

TEST(Spawn, SetsAffinityAndNiceness) {
  cpu_set_t mine;
  ASSERT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
  int last = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(static_cast<unsigned>(cpu), &mine)) last = cpu;
  SpawnOptions options;
  options.cpus = {last};
  options.nice = 7;
  EXPECT_EQ(status_of(options).at("Cpus_allowed_list"), std::to_string(last));
  EXPECT_EQ(output_of("nice", options), "7\n");
}

TEST(Spawn, LeadsASessionOfItsOwn) {
  EXPECT_EQ(
      output_of("read -r pid comm state ppid pgrp session rest </proc/$$/stat; [ $pid = $session ] && echo leads"),
      "leads\n");
}

TEST(Spawn, JoinsACgroupOrSaysWhyNot) {
  SpawnOptions options;
  options.program = "/bin/true";
  options.cgroup = "/sys/fs/cgroup/there-is-no-such-group";
  const Error missing = failure_of(options);
  EXPECT_NE(missing.message().find("there-is-no-such-group/cgroup.procs': No such file"), std::string::npos)
      << missing.what();
  // A folder that looks like one: what is written there is who joins.
  const std::string folder = new_folder();
  const std::string file = folder + "/cgroup.procs";
  std::ofstream{file};
  options.cgroup = folder;
  EXPECT_EQ(end_of(spawn(options)), 0);
  std::string joined;
  std::ifstream(file) >> joined;
  EXPECT_EQ(joined, "0");
  std::filesystem::remove_all(folder);
}

TEST(Spawn, LeavesTheNetworkWhereItMay) {
  SpawnOptions options;
  options.private_network = true;
  const std::string inside = output_of("readlink /proc/self/ns/net", options);
  EXPECT_EQ(inside == output_of("readlink /proc/self/ns/net"), !root());
}

TEST(Spawn, NamesTheStepThatFails) {
  struct Case {
    const char* says;
    SpawnOptions options;
  };
  std::vector<Case> cases(5);
  cases[0] = {"running the program: No such file", {}};
  cases[0].options.program = "/nowhere/at/all";
  cases[1] = {"running the program: Permission denied", {}};
  cases[1].options.program = "/etc/passwd";
  cases[2] = {"there is no CPU 100000", {}};
  cases[2].options.cpus = {100000};
  cases[3] = {"setting CPU affinity: Invalid argument", {}};
  cases[3].options.cpus = {CPU_SETSIZE - 1};
  cases[4] = {"placing descriptors: Bad file", {}};
  cases[4].options.fds = {{999, 3}};
  for (Case& one : cases) {
    if (one.options.program.empty()) one.options.program = "/bin/true";
    const Error error = failure_of(one.options);
    EXPECT_EQ(error.code(), Code::io);
    EXPECT_NE(error.message().find(one.says), std::string::npos) << error.what() << " should say: " << one.says;
  }
}

TEST(Spawn, TheChildDiesWithItsParent) {
  for (const bool changes_user : {false, true}) {
    if (changes_user && !root()) continue;
    Pipe life;  // the grandchild alone holds the writing end: its end closes it
    const pid_t parent = fork();
    ASSERT_GE(parent, 0);
    if (parent == 0) {
      SpawnOptions options;
      options.program = "/bin/cat";
      if (changes_user) options.identity = somebody();
      Pipe never;  // what cat waits for, forever, as it holds the other end itself
      options.fds = {{never.read.get(), 0}, {never.write.get(), 4}, {life.write.get(), 5}};
      try {
        spawn(options);
      } catch (const Error&) {
        _exit(1);
      }
      _exit(0);
    }
    life.write.reset();
    int status = -1;
    ASSERT_EQ(waitpid(parent, &status, 0), parent);
    EXPECT_EQ(status, 0);
    pollfd ended{life.read.get(), POLLIN, 0};
    EXPECT_EQ(poll(&ended, 1, 30'000), 1) << "the child lives on";
  }
}

TEST(Spawn, ThePidfdTellsTheEnd) {
  SpawnOptions options;
  options.program = "/bin/cat";
  Pipe input;
  options.fds = {{input.read.get(), 0}};
  const Child child = spawn(options);
  pollfd ended{child.pidfd.get(), POLLIN, 0};
  EXPECT_EQ(poll(&ended, 1, 0), 0);
  input.write.reset();
  EXPECT_EQ(poll(&ended, 1, 30'000), 1);
  EXPECT_EQ(end_of(child), 0);
}

TEST(Spawn, WorksWhileOtherThreadsHoldEveryLock) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> busy;
  for (int i = 0; i < 4; ++i) {
    busy.emplace_back([&stop] {
      while (!stop) delete[] new char[100'000];
    });
  }
  for (int i = 0; i < 50; ++i) EXPECT_EQ(output_of("echo works"), "works\n");
  stop = true;
  for (std::thread& thread : busy) thread.join();
}

TEST(Identity, ComesFromTheUserDatabase) {
  const Identity root_user = identity_of(std::string("root"));
  EXPECT_EQ(root_user.uid, 0U);
  EXPECT_EQ(identity_of(uid_t{0}).gid, root_user.gid);
  EXPECT_NE(std::ranges::find(root_user.groups, root_user.gid), root_user.groups.end());
  for (const auto& missing : {std::string("no-such-user-here")}) {
    try {
      identity_of(missing);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::not_found);
    }
  }
}

}  // namespace
}  // namespace ml::daemon
