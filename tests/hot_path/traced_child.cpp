#include "tests/hot_path/traced_child.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>

namespace ml::test {
namespace {

enum : std::uint32_t { preparing, ready, go, done };

std::uint32_t load(const std::uint32_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }
void store(std::uint32_t& word, std::uint32_t value) { __atomic_store_n(&word, value, __ATOMIC_RELEASE); }

void check(long result, const char* what) {
  if (result < 0) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

void seize(pid_t thread) {
  check(ptrace(PTRACE_SEIZE, thread, nullptr, PTRACE_O_TRACESYSGOOD), "ptrace seize");
  check(ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr), "ptrace interrupt");
  int status = 0;
  check(waitpid(thread, &status, __WALL), "waitpid");
  check(ptrace(PTRACE_SYSCALL, thread, nullptr, nullptr), "ptrace resume");
}

void reap(pid_t thread) {
  int status = 0;
  while (thread > 0 && waitpid(thread, &status, __WALL) == thread && !WIFEXITED(status) && !WIFSIGNALED(status)) {
  }
}

// Until the child says that it is done.
void count_system_calls(const Phase& phase, Counts& counts) {
  for (;;) {
    const bool over = load(phase.state) == done;
    bool any = false;
    for (std::size_t i = 0; i < kThreads; ++i) {
      int status = 0;
      if (waitpid(phase.threads[i], &status, __WALL | WNOHANG) <= 0) continue;
      any = true;
      if (!WIFSTOPPED(status)) throw std::runtime_error("the child died");
      if (WSTOPSIG(status) == (SIGTRAP | 0x80)) ++counts.system_calls[i];  // twice for each: entered and left
      check(ptrace(PTRACE_SYSCALL, phase.threads[i], nullptr, nullptr), "ptrace resume");
    }
    if (over && !any) return;
    if (!any) usleep(200);
  }
}

}  // namespace

void Phase::measure(const std::function<void()>& body) {
  store(state, ready);
  while (load(state) != go) {
  }
  body();
  store(state, done);
  for (;;) {  // the parent ends it
  }
}

Counts run_traced(const std::function<void(Phase& phase)>& child) {
  void* shared = mmap(nullptr, sizeof(Phase), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw std::bad_alloc();
  Phase& phase = *new (shared) Phase{};
  const pid_t process = fork();
  if (process == 0) {
    try {
      child(phase);
    } catch (const std::exception& e) {
      std::strncpy(phase.error, e.what(), sizeof(phase.error) - 1);
    }
    _exit(1);
  }
  Counts counts{};
  try {
    check(process, "fork");
    while (load(phase.state) != ready) {
      if (waitpid(process, nullptr, WNOHANG) == process) throw std::runtime_error(phase.error);
      usleep(200);
    }
    for (const pid_t thread : phase.threads) seize(thread);
    store(phase.state, go);
    count_system_calls(phase, counts);
  } catch (const std::exception& e) {
    counts.error = *e.what() != 0 ? e.what() : "the child ended early";
  }
  for (std::size_t i = 0; i < kThreads; ++i) counts.allocations[i] = phase.allocations[i];
  if (process > 0) {
    kill(process, SIGKILL);
    // A traced thread is ours to bury, and the process is gone only when they are.
    for (const pid_t thread : phase.threads) reap(thread == process ? 0 : thread);
    reap(process);
  }
  munmap(shared, sizeof(Phase));
  return counts;
}

}  // namespace ml::test
