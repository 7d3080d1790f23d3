// Each attempt runs in a process of its own that has entered the sandbox of a worker.
#include "daemon/worker/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#include "kernel/uapi/mlaccel_control.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

constexpr int kWorked = 0;
constexpr int kNoSandbox = 255;

// What an attempt comes to in the sandbox: 0, an errno, or minus the signal that ended it.
int in_sandbox(const std::function<bool()>& attempt, bool system_calls = true) {
  const pid_t child = fork();
  if (child == 0) {
    try {
      give_up_files();
      if (system_calls) restrict_system_calls();
    } catch (const Error& error) {
      fputs(error.what(), stderr);
      _exit(kNoSandbox);
    }
    errno = 0;
    _exit(attempt() ? kWorked : errno);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

std::string words(int result) {
  if (result < 0) return std::string("signal ") + std::to_string(-result);
  return result == 0 ? "it worked" : strerror(result);
}

struct Attempt {
  const char* what;
  int expected;
  std::function<bool()> attempt;
};

void expect_each(const std::vector<Attempt>& attempts, bool system_calls = true) {
  for (const Attempt& one : attempts) {
    const int result = in_sandbox(one.attempt, system_calls);
    EXPECT_EQ(result, one.expected) << one.what << ": " << words(result) << ", not " << words(one.expected);
  }
}

bool raw(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  return syscall(number, a, b, c, d, e) >= 0;
}

constexpr int kKilled = -SIGSYS;

const std::string folder = testing::TempDir();
const std::string new_file = folder + "sandbox_test";

TEST(Sandbox, FilesAreOutOfReach) {
  expect_each({
      {"reading a file", EACCES, [] { return open("/etc/passwd", O_RDONLY) >= 0; }},
      {"listing a folder", EACCES, [] { return open("/", O_RDONLY | O_DIRECTORY) >= 0; }},
      {"reading its own memory file", EACCES, [] { return open("/proc/self/mem", O_RDONLY) >= 0; }},
      {"a path only", EACCES, [] { return open("/", O_PATH) >= 0; }},
      {"writing a file", EACCES, [] { return open(new_file.c_str(), O_WRONLY | O_CREAT, 0600) >= 0; }},
      {"reading and writing", EACCES, [] { return open("/proc/self/mem", O_RDWR) >= 0; }},
      {"a nameless file", EACCES, [] { return open(folder.c_str(), O_TMPFILE | O_RDWR, 0600) >= 0; }},
      {"the other open", EACCES, [] { return raw(SYS_openat2, AT_FDCWD, 0, 0, 0); }},
      {"removing a file", kKilled, [] { return unlink(new_file.c_str()) == 0; }},
      {"renaming a file", kKilled, [] { return rename(new_file.c_str(), folder.c_str()) == 0; }},
      {"making a folder", kKilled, [] { return mkdir(new_file.c_str(), 0700) == 0; }},
      {"changing rights", kKilled, [] { return chmod(folder.c_str(), 0777) == 0; }},
      {"a link", kKilled, [] { return symlink("/etc", new_file.c_str()) == 0; }},
      {"mounting", kKilled, [] { return mount("none", folder.c_str(), "tmpfs", 0, nullptr) == 0; }},
      {"another root", kKilled, [] { return chroot(folder.c_str()) == 0; }},
      {"another folder", EPERM, [] { return chdir(folder.c_str()) == 0; }},
      {"a file by its handle", kKilled, [] { return raw(SYS_open_by_handle_at, -1, 0, 0); }},
      {"status of a path", EPERM, [] { return raw(SYS_newfstatat, AT_FDCWD, 0, 0, 0); }},
      {"whether one may read", EPERM, [] { return access("/etc/passwd", R_OK) == 0; }},
  });
}

TEST(Sandbox, OtherProcessesAreOutOfReach) {
  expect_each({
      {"another program", kKilled, [] { return execl("/bin/true", "true", nullptr) == 0; }},
      {"another process", kKilled, [] { return fork() >= 0; }},
      {"another process without fork", kKilled, [] { return raw(SYS_clone, SIGCHLD); }},
      {"another process by clone3", ENOSYS, [] { return raw(SYS_clone3, 0, 0); }},
      {"a signal to another", EPERM, [] { return kill(getppid(), 0) == 0; }},
      {"a signal to a thread of another", EPERM, [] { return raw(SYS_tgkill, 1, 1, 0); }},
      {"the priority of all that are its user's", EPERM, [] { return setpriority(PRIO_USER, 0, 19) == 0; }},
      {"tracing", kKilled, [] { return ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0; }},
      {"another's memory", kKilled, [] { return raw(SYS_process_vm_readv, 1, 0, 0, 0, 0); }},
      {"another's files", kKilled, [] { return raw(SYS_pidfd_getfd, -1, 0, 0); }},
      {"a pidfd", EPERM, [] { return raw(SYS_pidfd_open, getpid(), 0); }},
  });
}

TEST(Sandbox, TheNetworkIsOutOfReach) {
  expect_each({
      {"an internet socket", kKilled, [] { return socket(AF_INET, SOCK_STREAM, 0) >= 0; }},
      {"a local socket", kKilled, [] { return socket(AF_UNIX, SOCK_STREAM, 0) >= 0; }},
      {"netlink", kKilled, [] { return socket(AF_NETLINK, SOCK_RAW, 0) >= 0; }},
      {"a socket pair", kKilled,
       [] {
         int ends[2];
         return socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0;
       }},
      {"connecting", kKilled, [] { return connect(3, nullptr, 0) == 0; }},
      {"binding", kKilled, [] { return bind(3, nullptr, 0) == 0; }},
      {"accepting", kKilled, [] { return accept(3, nullptr, nullptr) >= 0; }},
  });
}

TEST(Sandbox, TheKernelsRarerDoorsAreShut) {
  expect_each({
      {"bpf", kKilled, [] { return raw(SYS_bpf); }},
      {"io_uring", kKilled, [] { return raw(SYS_io_uring_setup, 1, 0); }},
      {"userfaultfd", kKilled, [] { return raw(SYS_userfaultfd, 0); }},
      {"perf", kKilled, [] { return raw(SYS_perf_event_open); }},
      {"keys", kKilled, [] { return raw(SYS_keyctl); }},
      {"namespaces", kKilled, [] { return unshare(CLONE_NEWUSER) == 0; }},
      {"modules", kKilled, [] { return raw(SYS_init_module); }},
      {"another user", kKilled, [] { return raw(SYS_setresuid, 0, 0, 0); }},
      {"capabilities", kKilled, [] { return raw(SYS_capset); }},
      {"another filter", EPERM, [] { return raw(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, 0); }},
      {"core dumps again", EPERM, [] { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0; }},
      {"other limits", EPERM,
       [] {
         const rlimit more{1, 1};
         return setrlimit(RLIMIT_CORE, &more) == 0;
       }},
      {"a shared memory segment", EPERM, [] { return raw(SYS_shmget, 0, 4096, 0600); }},
      {"device controls", EPERM, [] { return raw(SYS_ioctl, 0, 0, 0); }},
      {"a call that nobody has heard of", EPERM, [] { return raw(10'000); }},
  });
}

TEST(Sandbox, OnlyWhatWasWrittenHereRuns) {
  expect_each({
      {"mapping a file executable", EPERM,
       [] {
         const int file = memfd_create("code", 0);
         return ftruncate(file, 4096) == 0 &&
                mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) != MAP_FAILED;
       }},
      {"mapping memory writable and executable", EPERM,
       [] {
         return mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
                MAP_FAILED;
       }},
      // oneDNN generates its kernels.
      {"making memory executable", kWorked,
       [] {
         void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
         return page != MAP_FAILED && mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0;
       }},
  });
}

TEST(Sandbox, LandlockAloneKeepsFilesOutOfReach) {
  const long abi = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1) GTEST_FAIL() << "this kernel has no Landlock, so half of the sandbox can't be tested here";
  expect_each(
      {
          {"reading a file", EACCES, [] { return open("/etc/passwd", O_RDONLY) >= 0; }},
          {"listing a folder", EACCES, [] { return open("/etc", O_RDONLY | O_DIRECTORY) >= 0; }},
          {"making a file", EACCES, [] { return open(new_file.c_str(), O_WRONLY | O_CREAT, 0600) >= 0; }},
          {"removing a file", EACCES, [] { return rmdir(folder.c_str()) == 0; }},
          {"running a program", EACCES, [] { return execl("/bin/true", "true", nullptr) == 0; }},
          {"how many CPUs there are", kWorked, [] { return open("/sys/devices/system/cpu/online", O_RDONLY) >= 0; }},
          {"writing there", EACCES, [] { return open("/sys/devices/system/cpu/online", O_WRONLY) >= 0; }},
          {"its own status", kWorked, [] { return open("/proc/self/status", O_RDONLY) >= 0; }},
          {"another's status", EACCES, [] { return open("/proc/1/status", O_RDONLY) >= 0; }},
      },
      false);
}

TEST(Sandbox, GivesUpWhatTheProcessHad) {
  expect_each({
      {"core dumps", kWorked,
       [] {
         rlimit core{};
         return getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0;
       }},
  });
  expect_each(
      {
          {"being traced", kWorked, [] { return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0; }},
          {"new privileges", kWorked, [] { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1; }},
          {"capabilities", EPERM, [] { return sethostname("x", 1) == 0; }},
      },
      false);
}

TEST(Sandbox, CoversThreadsThatWereThereBefore) {
  std::atomic<int>* const result =
      static_cast<std::atomic<int>*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(result, MAP_FAILED);
  const pid_t child = fork();
  if (child == 0) {
    give_up_files();
    std::atomic<bool> inside{false};
    std::thread before([&] {
      inside.wait(false);
      *result = chdir("/") == 0 ? 0 : errno;
    });
    restrict_system_calls();
    inside = true;
    inside.notify_all();
    before.join();
    std::thread([&] { inside = false; }).join();  // and new ones can be made
    _exit(inside ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(*result, EPERM);
  munmap(result, 4096);
}

// The file of a worker stands for the kernel module's: what matters is which calls get as far as it.
TEST(Sandbox, LetsThroughAWorkersCallsOnItsFileAlone) {
  const int file = open("/dev/null", O_RDWR | O_CLOEXEC), other = open("/dev/null", O_RDWR | O_CLOEXEC);
  ASSERT_GE(file, 0);
  ASSERT_GE(other, 0);
  const auto call = [](int on, unsigned long number, int allowed) {
    const pid_t child = fork();
    if (child == 0) {
      give_up_files();
      restrict_system_calls(allowed);
      std::uint64_t room[64]{};
      _exit(ioctl(on, number, room) == 0 ? kWorked : errno);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return WEXITSTATUS(status);
  };
  for (const unsigned long number : {MLACCEL_WORKER_INFO, MLACCEL_QUEUE_MAP, MLACCEL_COMPLETE, MLACCEL_BO_LOOK,
                                     MLACCEL_BO_CREATE_FOR, MLACCEL_FREED}) {
    EXPECT_EQ(call(file, number, file), ENOTTY) << number;
    EXPECT_EQ(call(other, number, file), EPERM) << number;
    EXPECT_EQ(call(file, number, -1), EPERM) << number;
  }
  EXPECT_EQ(call(file, MLACCEL_DEV_START, file), EPERM) << "mld's";
  EXPECT_EQ(call(file, FIONREAD, file), EPERM);
  close(file);
  close(other);
}

}  // namespace
}  // namespace ml::daemon
