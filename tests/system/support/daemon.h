// A real mld in a temporary directory: started, watched, killed, started again. Its log is printed when the test fails.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/system/support/process.h"
#include "tests/system/support/scratch.h"

namespace ml::test {

struct DaemonOptions {
  std::string toml = {};  // mld.toml
  // As root, serving every user of the machine, its workers running as `worker_user`; otherwise `mld --user`.
  bool system = false;
  std::vector<std::string> arguments = {};
  std::vector<std::pair<std::string, std::string>> environment = {};
  std::vector<std::string> wrapper = {};  // what starts mld: a program and its arguments
};

// Lines for the top of mld.toml in system mode on a machine where mlaccel isn't installed: workers run as nobody, and
// the admin group is one that every Debian has ("games").
inline constexpr std::string_view kSystemToml = "worker_user = \"nobody\"\nadmin_group = \"games\"\n";

// Where the build put a program.
std::string program_path(std::string_view name);

class Daemon {
 public:
  // Starts mld and waits until it says that it is ready. Throws with its log when it ends before that.
  explicit Daemon(DaemonOptions options = {});
  // Only prepares; for a mld that is expected to refuse.
  struct Stopped {};
  Daemon(DaemonOptions options, Stopped);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  void start();
  // Starts it and answers how it ended by itself; nothing: it became ready instead, and runs.
  std::optional<Ended> start_refused();
  void signal(int number) { process().signal(number); }
  std::optional<Ended> wait(Milliseconds within = kPatience) { return process().wait(within); }
  Ended terminate(Milliseconds within = 2 * kPatience);  // SIGTERM; throws when it does not end
  void kill();                                           // SIGKILL
  void restart();                                        // kill() unless it has ended, then start()

  Process& process();
  pid_t pid() { return process().pid(); }
  std::vector<ProcessEntry> children() { return children_of(pid()); }
  std::vector<pid_t> workers();
  // From exec to ready.
  std::chrono::duration<double, std::milli> start_time() const { return start_time_; }
  // Waits until mld has told its supervisor this (sd_notify), for example "STOPPING=1".
  bool notified(std::string_view line, Milliseconds within = kPatience);

  std::string directory() const { return scratch_.path(); }
  std::string socket() const { return scratch_.file("mld.sock"); }
  std::string admin_socket() const { return scratch_.file("admin.sock"); }
  std::string state() const { return scratch_.file("state"); }
  std::string config() const { return scratch_.file("mld.toml"); }
  // For MLACCEL and SessionOptions::transport. With ML_TEST_KERNEL in the environment the kernel module's, where the
  // test then fails without it.
  std::string transport() const;
  static bool through_kernel();
  void write_config(std::string_view toml) const;

  std::string log() const { return read_file(log_path()); }
  bool logged(std::string_view text, Milliseconds within = kPatience) const;

 private:
  std::string log_path() const { return scratch_.file("mld.log"); }
  void launch();
  bool read_notifications();

  DaemonOptions options_;
  Scratch scratch_;
  transport::UniqueFd notify_;
  std::vector<std::string> notifications_;
  std::unique_ptr<Program> program_;
  std::chrono::duration<double, std::milli> start_time_{0};
};

}  // namespace ml::test
