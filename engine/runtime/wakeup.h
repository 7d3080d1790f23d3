// What the ring thread sleeps on: the doorbells of parked rings, a bell of its own for the other threads, and the
// worker's EventSource.
#pragma once

#include <cstdint>
#include <utility>

#include "engine/runtime/mailbox.h"

namespace ml::runtime {

class Queue;

class Wakeup {
 public:
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  void add(Queue& queue, int doorbell_fd);
  void remove(int doorbell_fd);
  // One fd more, which wakes as long as it is readable.
  void watch(int fd);
  void unwatch(int fd);

  // Any thread, behind publishing work; a system call only when the ring thread sleeps.
  void wake();

  // The ring thread: sleeps until `deadline` (CLOCK_MONOTONIC ns, 0: none), unless ready() says that there is work.
  template <class Ready>
  void sleep(std::uint64_t deadline, Ready ready) {
    asleep_.announce();
    if (!ready()) wait(deadline);
    asleep_.clear();
  }
  // Calls rung(queue) for each queue whose doorbell rang meanwhile.
  template <class Rung>
  void take_rung(Rung rung) {
    for (int i = 0; i < rung_count_; ++i) rung(*rung_[i]);
    rung_count_ = 0;
  }
  // Was the watched fd readable?
  bool take_watched() { return std::exchange(watched_ready_, false); }

 private:
  static constexpr int kBatch = 32;
  void wait(std::uint64_t deadline);

  SleepFlag asleep_;
  int epoll_ = -1;
  int bell_ = -1;
  Queue* rung_[kBatch] = {};
  int rung_count_ = 0;
  bool watched_ready_ = false;
};

}  // namespace ml::runtime
