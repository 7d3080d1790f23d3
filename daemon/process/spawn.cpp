// Between clone and exec the child is a copy of one thread of a process with many: whatever another thread held locked
// stays locked. So everything is prepared before, and the child makes bare system calls only. (glibc's setresuid and
// its like signal all threads that glibc knows of, which the child doesn't have.)
#include "daemon/process/spawn.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "ml/error.h"

namespace ml::daemon {
namespace {

using transport::UniqueFd;

enum class Step : int {
  parent_gone,
  session,
  signals,
  cgroup,
  affinity,
  niceness,
  descriptors,
  network,
  groups,
  group_id,
  user_id,
  capabilities,
  privileges,
  directory,
  parent_death,
  exec,
};
constexpr const char* kStepNames[] = {
    "waiting for its parent", "starting a session",  "resetting signals",    "joining its cgroup",
    "setting CPU affinity",   "setting niceness",    "placing descriptors",  "leaving the network",
    "setting groups",         "setting the group",   "setting the user",     "dropping capabilities",
    "setting no_new_privs",   "entering its folder", "setting parent death", "running the program",
};
static_assert(std::size(kStepNames) == static_cast<std::size_t>(Step::exec) + 1);

struct Failure {
  Step step;
  int error;
};

// What the child needs, in the form in which the system takes it.
struct Plan {
  const char* program;
  std::vector<char*> arguments, environment;
  std::vector<std::pair<int, int>> fds;  // by target
  std::vector<int> moved;                // room for the child: fds, out of the targets' way
  int lowest_free;                       // above every target
  const Identity* identity;
  cpu_set_t cpus;
  bool set_cpus;
  int nice;
  const char* directory;
  int cgroup;  // its cgroup.procs, or -1
  bool private_network;
  pid_t parent;
  int report;  // the pipe
};

[[noreturn]] void refuse(const std::string& program, const std::string& what, int error, std::string hint = {}) {
  throw Error(Code::io, "'" + program + "' cannot be started: " + what + ": " + std::strerror(error), "spawn",
              std::move(hint));
}

UniqueFd open_or_refuse(const std::string& program, const std::string& path, int flags) {
  UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC));
  if (!fd) refuse(program, "opening '" + path + "'", errno);
  return fd;
}

bool have_capability(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  return syscall(SYS_capget, &header, data) == 0 && (data[capability / 32].effective & (1u << capability % 32)) != 0;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> list;
  list.reserve(texts.size() + 1);
  for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

// From here to become(): the child. ------------------------------------------------------------------------------

// True when it worked; false with errno.
bool place_descriptors(Plan& plan) {
  const auto out_of_the_way = [&plan](int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, plan.lowest_free); };
  plan.report = out_of_the_way(plan.report);
  if (plan.report < 0) return false;
  for (std::size_t i = 0; i < plan.fds.size(); ++i)
    if ((plan.moved[i] = out_of_the_way(plan.fds[i].first)) < 0) return false;
  int next = 0;
  for (std::size_t i = 0; i < plan.fds.size(); ++i) {
    const int target = plan.fds[i].second;
    if (target > next && syscall(SYS_close_range, next, target - 1, 0) != 0) return false;
    if (dup2(plan.moved[i], target) < 0) return false;
    next = target + 1;
  }
  return syscall(SYS_close_range, next, UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0;
}

bool reset_signals() {
  // The kernel's own layout; glibc's sigaction refuses the two signals that glibc keeps for itself.
  const struct {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    unsigned long mask;
  } by_default{SIG_DFL, 0, nullptr, 0};
  for (int signal = 1; signal < NSIG; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    if (syscall(SYS_rt_sigaction, signal, &by_default, nullptr, sizeof by_default.mask) != 0) return false;
  }
  return true;
}

// What a program could ever get back. Where this may not be dropped, no_new_privs alone stands before it.
bool drop_bounds() {
  if (!have_capability(CAP_SETPCAP)) return true;
  for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; ++capability)
    if (prctl(PR_CAPBSET_DROP, capability) != 0) return false;
  return true;
}

bool drop_capabilities() {
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return false;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  return syscall(SYS_capset, &header, none) == 0;
}

bool is_user(uid_t uid) {
  uid_t real = ~uid, effective = ~uid, saved = ~uid;
  return syscall(SYS_getresuid, &real, &effective, &saved) == 0 && real == uid && effective == uid && saved == uid;
}
bool is_group(gid_t gid) {
  gid_t real = ~gid, effective = ~gid, saved = ~gid;
  return syscall(SYS_getresgid, &real, &effective, &saved) == 0 && real == gid && effective == gid && saved == gid;
}

// The step that failed, with errno; comes back only then.
Step become(Plan& plan) {
  // A parent that died before this line sent nothing; its child then has another one.
  const auto die_with_parent = [&plan] {
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && syscall(SYS_getppid) == plan.parent;
  };
  errno = ESRCH;
  if (!die_with_parent()) return Step::parent_gone;
  if (setsid() < 0) return Step::session;
  if (!reset_signals()) return Step::signals;
  if (plan.cgroup >= 0 && write(plan.cgroup, "0", 1) != 1) return Step::cgroup;
  if (plan.set_cpus && sched_setaffinity(0, sizeof plan.cpus, &plan.cpus) != 0) return Step::affinity;
  if (plan.nice != 0 && setpriority(PRIO_PROCESS, 0, plan.nice) != 0) return Step::niceness;
  if (!place_descriptors(plan)) return Step::descriptors;
  if (plan.private_network && syscall(SYS_unshare, CLONE_NEWNET) != 0) return Step::network;
  if (!drop_bounds()) return Step::capabilities;
  if (const Identity* const identity = plan.identity) {
    errno = EPERM;
    if (syscall(SYS_setgroups, identity->groups.size(), identity->groups.data()) != 0) return Step::groups;
    if (syscall(SYS_setresgid, identity->gid, identity->gid, identity->gid) != 0 || !is_group(identity->gid))
      return Step::group_id;
    if (syscall(SYS_setresuid, identity->uid, identity->uid, identity->uid) != 0 || !is_user(identity->uid))
      return Step::user_id;
  }
  if (!drop_capabilities()) return Step::capabilities;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Step::privileges;
  if (chdir(plan.directory) != 0) return Step::directory;
  // Changed credentials have cleared it.
  errno = ESRCH;
  if (!die_with_parent()) return Step::parent_death;
  const unsigned long none = 0;
  if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none) != 0) return Step::signals;
  execve(plan.program, plan.arguments.data(), plan.environment.data());
  return Step::exec;
}

[[noreturn]] void child(Plan& plan) {
  Failure failure{become(plan), 0};
  failure.error = errno;
  // Nobody reads it when the parent is gone.
  [[maybe_unused]] const ssize_t written = write(plan.report, &failure, sizeof failure);
  _exit(127);
}

}  // namespace

Child spawn(const SpawnOptions& options) {
  const UniqueFd null = open_or_refuse(options.program, "/dev/null", O_RDWR);
  std::vector<std::string> arguments{options.program};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());

  Plan plan{};
  plan.program = options.program.c_str();
  plan.arguments = pointers(arguments);
  plan.environment = pointers(options.environment);
  plan.fds = options.fds;
  for (const int standard : {0, 1, 2})
    if (std::ranges::find(plan.fds, standard, &std::pair<int, int>::second) == plan.fds.end())
      plan.fds.emplace_back(null.get(), standard);
  std::ranges::sort(plan.fds, {}, &std::pair<int, int>::second);
  plan.moved.resize(plan.fds.size());
  plan.lowest_free = plan.fds.back().second + 1;
  plan.identity = options.identity ? &*options.identity : nullptr;
  plan.set_cpus = !options.cpus.empty();
  CPU_ZERO(&plan.cpus);
  for (const int cpu : options.cpus) {
    if (cpu < 0 || cpu >= CPU_SETSIZE) refuse(options.program, "there is no CPU " + std::to_string(cpu), EINVAL);
    CPU_SET(static_cast<unsigned>(cpu), &plan.cpus);
  }
  plan.nice = options.nice;
  plan.directory = options.directory.empty() ? "/" : options.directory.c_str();
  UniqueFd cgroup;
  if (!options.cgroup.empty()) cgroup = open_or_refuse(options.program, options.cgroup + "/cgroup.procs", O_WRONLY);
  plan.cgroup = cgroup.get();
  plan.private_network = options.private_network && have_capability(CAP_SYS_ADMIN);
  plan.parent = getpid();
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) refuse(options.program, "making a pipe", errno);
  const UniqueFd report(ends[0]);
  UniqueFd reporter(ends[1]);
  plan.report = reporter.get();

  // No handler of ours may run in the child.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int pidfd = -1;
  const long pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, nullptr, &pidfd, nullptr, nullptr);
  if (pid == 0) child(plan);
  const int clone_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) {
    refuse(options.program, "making a process", clone_error,
           clone_error == EAGAIN ? "raise the limit on processes (ulimit -u, TasksMax)" : "");
  }
  Child result{static_cast<pid_t>(pid), UniqueFd(pidfd)};
  reporter.reset();

  Failure failure{};
  ssize_t got;
  do got = read(report.get(), &failure, sizeof failure);
  while (got < 0 && errno == EINTR);
  if (got == 0) return result;
  siginfo_t ended{};
  while (waitid(P_PIDFD, static_cast<id_t>(pidfd), &ended, WEXITED) != 0 && errno == EINTR) {
  }
  if (got != sizeof failure) refuse(options.program, "reading its report", got < 0 ? errno : EIO);
  if (failure.step == Step::directory) {
    throw Error(Code::not_found,
                "'" + options.program + "' cannot be started: entering its folder '" + options.directory +
                    "': " + std::strerror(failure.error),
                "spawn", "make the folder, or let its user enter it");
  }
  refuse(options.program, kStepNames[static_cast<int>(failure.step)], failure.error);
}

}  // namespace ml::daemon
