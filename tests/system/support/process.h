// Programs and forked functions as children of a test: they can't outlive it, and their output is kept for it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libmlclient/transport/unique_fd.h"
#include "tests/system/support/waiting.h"

namespace ml::test {

struct User {
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups = {};
};

struct Ended {
  int status = 0;  // as wait() gives it
  bool with(int code) const;
  bool by_signal(int signal) const;
  std::string describe() const;  // "exit code 3", "signal 9 (Killed)"
};

// A child process. It dies with the thread that started it, at the latest with this object.
class Process {
 public:
  explicit Process(pid_t pid);
  ~Process();
  Process(Process&& other) noexcept;
  Process& operator=(Process&&) = delete;

  pid_t pid() const { return pid_; }
  bool running();
  void signal(int number);
  std::optional<Ended> wait(Milliseconds within = kPatience);  // empty: it runs still
  Ended kill();                                                // SIGKILL, unless it has ended; how it ended

 private:
  pid_t pid_;
  transport::UniqueFd pidfd_;
  std::optional<Ended> ended_;
};

struct Command {
  std::vector<std::string> arguments;                                 // [0]: the program, found in $PATH
  std::vector<std::pair<std::string, std::string>> environment = {};  // added to ours; "" takes a name away
  std::optional<User> user = {};
  std::string directory = {};  // empty: ours
  std::string output = {};     // file that stdout and stderr are appended to; empty: kept, see Program
};

// A program that runs; its stdout and stderr can be read at any time.
class Program {
 public:
  explicit Program(const Command& command);
  Process& process() { return process_; }
  std::string out() const;
  std::string err() const;

 private:
  transport::UniqueFd out_, err_;
  Process process_;
};

struct Finished {
  Ended ended;
  std::string out, err;
};
// Runs a program to its end. Throws when it does not end in time.
Finished run_program(const Command& command, Milliseconds within = 2 * kPatience);

// A forked child that runs `body` as `user` and exits; what body answers (or the text of what it threw) comes back. The
// child must not use what a library of the parent holds open: connect anew.
class Forked {
 public:
  Forked(std::optional<User> user, const std::function<std::string()>& body);
  Process& process() { return process_; }
  // Its answer. Throws what body threw, as text; and when it ended otherwise or does not end in time.
  std::string answer(Milliseconds within = 2 * kPatience);

 private:
  transport::UniqueFd pipe_;
  Process process_;
};
// Runs `body` as that user and answers what it answers. Needs root for anybody but ourselves.
std::string run_as(uid_t uid, gid_t gid, const std::function<std::string()>& body);

// What /proc says.
struct ProcessEntry {
  pid_t pid;
  pid_t parent;
  std::string name;  // comm: at most 15 characters
};
std::vector<ProcessEntry> children_of(pid_t parent);
// Whether it runs: one that has ended and waits for its parent (a container's init may take its time) does not.
bool alive(pid_t pid);

// Throws with a clear text unless we are root: a test that needs other users' ids fails without, it is never skipped.
void need_root();

}  // namespace ml::test
