// CLOCK_MONOTONIC in nanoseconds: the ring's time. Reading it is no system call.
#pragma once

#include <time.h>

#include <cstdint>

namespace ml::runtime {

inline std::uint64_t monotonic_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

// For loops that poll.
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace ml::runtime
