// Runs code in a child process and counts, by ptrace, the system calls that chosen threads of it make in one phase.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace ml::test {

inline constexpr std::size_t kThreads = 2;

// Lies in memory that parent and child share.
struct Phase {
  // The child: the threads to be counted, then measure(). Neither a system call nor an allocation itself.
  pid_t threads[kThreads];
  std::uint64_t allocations[kThreads];  // for the child to fill in
  char error[256];

  void measure(const std::function<void()>& body);

  std::uint32_t state;  // ready, go, done: moved on by one side each
};

struct Counts {
  std::string error;  // empty: all went well
  std::uint64_t system_calls[kThreads];
  std::uint64_t allocations[kThreads];
};

// Forks; `child` prepares, calls phase.measure() once and returns. An exception in it becomes the error.
Counts run_traced(const std::function<void(Phase& phase)>& child);

}  // namespace ml::test
