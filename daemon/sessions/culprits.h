// Processes whose work a worker died of. A process is known again when it connects anew, and only as itself: by uid,
// pid and start time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <tuple>

namespace ml::daemon {

struct ProcessIdentity {
  uid_t uid;
  pid_t pid;
  std::uint64_t start_time;  // clock ticks since boot; 0: not known

  bool operator==(const ProcessIdentity&) const = default;
  bool operator<(const ProcessIdentity& other) const {
    return std::tie(uid, pid, start_time) < std::tie(other.uid, other.pid, other.start_time);
  }
};
ProcessIdentity identify(uid_t uid, pid_t pid);

class Culprits {
 public:
  static constexpr std::uint32_t kMost = 2;  // deaths; then it is refused

  void add(const ProcessIdentity& process);
  std::uint32_t deaths(const ProcessIdentity& process) const;

 private:
  std::map<ProcessIdentity, std::uint32_t> deaths_;
};

}  // namespace ml::daemon
