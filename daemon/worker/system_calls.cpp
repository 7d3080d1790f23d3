// The system calls that a worker needs when it computes, sleeps and talks to mld.
#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>

#include "daemon/worker/sandbox.h"
#include "kernel/uapi/mlaccel_control.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

constexpr std::initializer_list<const char*> kAllowed = {
    // memory
    "brk", "munmap", "mremap", "madvise", "mprotect", "membarrier",
    // threads, signals and their ends
    "futex", "set_robust_list", "rseq", "exit", "exit_group", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
    "sigaltstack", "restart_syscall", "sched_yield", "sched_getaffinity", "getcpu", "getpriority",
    // time
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
    // who and how much
    "getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getrusage", "sysinfo", "uname", "getrandom",
    // files that it already has, and memory files of its own
    "read", "write", "readv", "writev", "pread64", "close", "lseek", "fstat", "memfd_create", "ftruncate", "dup",
    // waiting, and waking clients (event_bell.h)
    "poll", "ppoll", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2",
    "timerfd_create", "timerfd_settime", "io_setup", "io_submit", "io_getevents", "io_pgetevents", "io_destroy",
    // mld: the socket is connected, and there is no way to another one
    "sendmsg", "recvmsg", "shutdown"};

// What no library of ours has a use for: whoever calls it is somebody else.
constexpr std::initializer_list<const char*> kHostile = {"execve",
                                                         "execveat",
                                                         "fork",
                                                         "vfork",
                                                         "ptrace",
                                                         "process_vm_readv",
                                                         "process_vm_writev",
                                                         "process_madvise",
                                                         "pidfd_getfd",
                                                         "kcmp",
                                                         "socket",
                                                         "socketpair",
                                                         "connect",
                                                         "bind",
                                                         "listen",
                                                         "accept",
                                                         "accept4",
                                                         "sendto",
                                                         "sendmmsg",
                                                         "mount",
                                                         "umount2",
                                                         "move_mount",
                                                         "open_tree",
                                                         "fsopen",
                                                         "fsmount",
                                                         "pivot_root",
                                                         "chroot",
                                                         "unshare",
                                                         "setns",
                                                         "bpf",
                                                         "perf_event_open",
                                                         "userfaultfd",
                                                         "io_uring_setup",
                                                         "io_uring_enter",
                                                         "io_uring_register",
                                                         "keyctl",
                                                         "add_key",
                                                         "request_key",
                                                         "open_by_handle_at",
                                                         "name_to_handle_at",
                                                         "init_module",
                                                         "finit_module",
                                                         "delete_module",
                                                         "kexec_load",
                                                         "kexec_file_load",
                                                         "reboot",
                                                         "swapon",
                                                         "swapoff",
                                                         "acct",
                                                         "quotactl",
                                                         "setuid",
                                                         "setgid",
                                                         "setreuid",
                                                         "setregid",
                                                         "setresuid",
                                                         "setresgid",
                                                         "setgroups",
                                                         "capset",
                                                         "unlink",
                                                         "unlinkat",
                                                         "rename",
                                                         "renameat",
                                                         "renameat2",
                                                         "link",
                                                         "linkat",
                                                         "symlink",
                                                         "symlinkat",
                                                         "mkdir",
                                                         "mkdirat",
                                                         "mknod",
                                                         "mknodat",
                                                         "rmdir",
                                                         "chmod",
                                                         "fchmod",
                                                         "fchmodat",
                                                         "chown",
                                                         "fchown",
                                                         "fchownat",
                                                         "lchown",
                                                         "truncate",
                                                         "creat",
                                                         "ioperm",
                                                         "iopl",
                                                         "modify_ldt",
                                                         "vmsplice",
                                                         "tee",
                                                         "splice"};

class Filter {
 public:
  // What isn't named fails with EPERM: a library that asks for something new gets an error that it can report.
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(EPERM)), &seccomp_release) {
    if (context_ == nullptr) throw Error(Code::out_of_memory, "no memory for the seccomp filter", "sandbox");
    require(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_TSYNC, 1), "covering all threads");
    require(seccomp_attr_set(context_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "refusing other ABIs");
  }

  template <class... Conditions>
  void rule(std::uint32_t action, const char* name, Conditions... conditions) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number < 0) return;  // this machine has no such call
    require(seccomp_rule_add(context_.get(), action, number, sizeof...(conditions), conditions...), name);
  }
  void load() { require(seccomp_load(context_.get()), "loading it"); }

 private:
  static void require(int result, const char* step) {
    if (result == 0) return;
    throw Error(Code::io, std::string("the seccomp filter: ") + step + ": " + std::strerror(-result), "sandbox",
                "the kernel must have CONFIG_SECCOMP_FILTER");
  }

  std::unique_ptr<void, decltype(&seccomp_release)> context_;
};

scmp_arg_cmp is(unsigned argument, std::uint64_t value) { return SCMP_CMP64(argument, SCMP_CMP_EQ, value); }
scmp_arg_cmp masked(unsigned argument, std::uint64_t mask, std::uint64_t value) {
  return SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, mask, value);
}

}  // namespace

void restrict_system_calls(int kernel_file) {
  Filter filter;
  for (const char* name : kAllowed) filter.rule(SCMP_ACT_ALLOW, name);
  for (const char* name : kHostile) filter.rule(SCMP_ACT_KILL_PROCESS, name);

  // Threads, but no processes. Of clone3 the flags can't be seen; glibc takes clone instead when it isn't there.
  filter.rule(SCMP_ACT_ALLOW, "clone", masked(0, CLONE_THREAD, CLONE_THREAD));
  filter.rule(SCMP_ACT_KILL_PROCESS, "clone", masked(0, CLONE_THREAD, 0));
  filter.rule(SCMP_ACT_ERRNO(ENOSYS), "clone3");
  filter.rule(SCMP_ACT_ALLOW, "prctl", is(0, PR_SET_NAME));
  // abort() and its like, to itself.
  filter.rule(SCMP_ACT_ALLOW, "tgkill", is(0, static_cast<std::uint64_t>(getpid())));
  // Lowers the priority of threads that compile.
  filter.rule(SCMP_ACT_ALLOW, "setpriority", is(0, PRIO_PROCESS));
  // Reads limits; setting them needs a pointer in the third argument.
  filter.rule(SCMP_ACT_ALLOW, "prlimit64", is(2, 0));
  // No mapping is made executable from a file, nor made executable at once.
  filter.rule(SCMP_ACT_ALLOW, "mmap", masked(2, PROT_EXEC, 0));
  // Of an open file. The path beside AT_EMPTY_PATH can't be seen, so this tells whether a path exists.
  filter.rule(SCMP_ACT_ALLOW, "newfstatat", is(3, AT_EMPTY_PATH));
  for (const int command : {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS, F_GET_SEALS})
    filter.rule(SCMP_ACT_ALLOW, "fcntl", is(1, static_cast<std::uint64_t>(command)));
  if (kernel_file >= 0) {
    for (const unsigned long call : {MLACCEL_WORKER_INFO, MLACCEL_QUEUE_MAP, MLACCEL_QUEUE_UNMAP, MLACCEL_QUEUE_END,
                                     MLACCEL_COMPLETE, MLACCEL_BO_LOOK, MLACCEL_BO_CREATE_FOR, MLACCEL_BO_DESTROY,
                                     MLACCEL_BO_EVICT, MLACCEL_BO_RESTORE, MLACCEL_FREED})
      filter.rule(SCMP_ACT_ALLOW, "ioctl", is(0, static_cast<std::uint64_t>(kernel_file)), is(1, call));
  }
#ifdef __x86_64__
  // Asking for the registers of AMX, which oneDNN does once.
  constexpr int kGetPermission = 0x1022, kRequestPermission = 0x1023;
  for (const int command : {kGetPermission, kRequestPermission})
    filter.rule(SCMP_ACT_ALLOW, "arch_prctl", is(0, static_cast<std::uint64_t>(command)));
#endif
  // As where there are no such files: libraries ask for settings, and name threads by a file of /proc.
  for (const char* name : {"open", "openat", "openat2"}) filter.rule(SCMP_ACT_ERRNO(EACCES), name);
  filter.load();
}

}  // namespace ml::daemon
