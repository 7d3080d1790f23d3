// Waiting for what another process does: always for a condition, never for a time. The limits are generous; a test that
// reaches one has failed.
#pragma once

#include <poll.h>

#include <chrono>
#include <concepts>

namespace ml::test {

using Milliseconds = std::chrono::milliseconds;
inline constexpr Milliseconds kPatience{30'000};

class Deadline {
 public:
  explicit Deadline(Milliseconds within) : at_(std::chrono::steady_clock::now() + within) {}
  bool passed() const { return std::chrono::steady_clock::now() >= at_; }
  // For poll(): at least 0.
  int left_ms() const {
    const auto left = std::chrono::duration_cast<Milliseconds>(at_ - std::chrono::steady_clock::now()).count();
    return left > 0 ? static_cast<int>(left) : 0;
  }

 private:
  std::chrono::steady_clock::time_point at_;
};

// Looks every few milliseconds until `condition` holds: for what can't be waited on, such as numbers in /proc.
bool eventually(std::predicate auto condition, Milliseconds within = kPatience) {
  for (const Deadline deadline(within);;) {
    if (condition()) return true;
    if (deadline.passed()) return false;
    poll(nullptr, 0, 2);
  }
}

// Whether `fd` becomes readable (or hangs up) in time.
inline bool readable(int fd, Milliseconds within = kPatience) {
  pollfd one{fd, POLLIN, 0};
  return poll(&one, 1, static_cast<int>(within.count())) > 0;
}

}  // namespace ml::test
