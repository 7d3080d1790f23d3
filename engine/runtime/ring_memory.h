// The memory of one queue: a sealed memfd with its three runs of pages, and the eventfds that go with it, as the side
// that makes the queue (the embedded worker's process) holds them.
#pragma once

#include <cstdint>

#include "engine/runtime/worker_ring.h"

namespace ml::runtime {

class RingMemory {
 public:
  // Throws ml::Error for a depth that can't be and when the system refuses.
  explicit RingMemory(uint32_t depth);
  ~RingMemory();
  RingMemory(const RingMemory&) = delete;
  RingMemory& operator=(const RingMemory&) = delete;

  WorkerPages worker_pages() const;
  // What the client's end needs: it maps memory_fd itself. All stay open as long as this object; the client duplicates
  // what it keeps longer.
  int memory_fd() const { return memory_fd_; }
  int doorbell_fd() const { return doorbell_fd_; }  // the client writes, the worker sleeps on it
  int wake_fd() const { return wake_fd_; }          // the worker writes, the client sleeps on it
  uint32_t depth() const { return layout_.depth; }

  // Moves the queue out of MLRING_STATE_ACTIVE (once; later calls change nothing) and wakes both sides.
  void set_state(uint32_t state);

 private:
  void close_all();

  mlring_layout layout_{};
  int memory_fd_ = -1;
  int doorbell_fd_ = -1;
  int wake_fd_ = -1;
  const void* submission_ = nullptr;
  void* completion_ = nullptr;
  void* state_ = nullptr;
};

}  // namespace ml::runtime
