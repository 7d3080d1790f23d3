// Round trips over a ring whose both ends are in this process, with what the two threads do meanwhile counted.
#pragma once

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <stdexcept>
#include <string>

#include "engine/runtime/worker.h"
#include "libmlclient/transport/client_ring.h"
#include "tests/hot_path/counted_malloc.h"
#include "tests/hot_path/traced_child.h"

namespace ml::test {

inline constexpr int kWarmUp = 80;
inline constexpr int kMeasured = 100;
// Longer than the test: nothing goes to sleep, however busy the machine is.
inline const runtime::WorkerOptions kAwake{.executors = 1, .spin = 60'000'000'000, .park = 60'000'000'000};

inline pid_t thread_named(const std::string& name) {
  DIR* tasks = opendir("/proc/self/task");
  pid_t found = 0;
  while (const dirent* entry = readdir(tasks)) {
    std::ifstream file(std::string("/proc/self/task/") + entry->d_name + "/comm");
    std::string comm;
    if (std::getline(file, comm) && comm == name) found = static_cast<pid_t>(std::stol(entry->d_name));
  }
  closedir(tasks);
  return found;
}

// Submits, polls until it is answered, `times` over.
inline void round_trips(transport::ClientRing& ring, const mlring_descriptor& descriptor, int times) {
  transport::Completion completion;
  for (int i = 0; i < times; ++i) {
    if (!ring.submit(descriptor)) throw std::runtime_error("the ring is full");
    while (!ring.poll(completion)) {
      if (ring.state() != transport::RingState::active) throw std::runtime_error("the queue ended");
    }
    if (completion.entry.status != MLRING_OK) throw std::runtime_error("it failed");
  }
}

inline void measure(Phase& phase, transport::ClientRing& ring, const mlring_descriptor& descriptor) {
  round_trips(ring, descriptor, kWarmUp);
  phase.threads[0] = static_cast<pid_t>(syscall(SYS_gettid));
  phase.threads[1] = thread_named("ml-ring");
  phase.measure([&] {
    for (std::size_t i = 0; i < kThreads; ++i) phase.allocations[i] = allocations_of(phase.threads[i]);
    round_trips(ring, descriptor, kMeasured);
    for (std::size_t i = 0; i < kThreads; ++i)
      phase.allocations[i] = allocations_of(phase.threads[i]) - phase.allocations[i];
  });
}

}  // namespace ml::test
