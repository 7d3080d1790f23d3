// The memory of one queue: a sealed memfd with its three runs of pages, and the eventfds that go with it, as the side
// that makes the queue (the embedded worker's process) holds them.
#pragma once

#include <cstdint>

#include "engine/runtime/queue_memory.h"

namespace ml::runtime {

class RingMemory final : public QueueMemory {
 public:
  // Throws ml::Error for a depth that can't be and when the system refuses.
  explicit RingMemory(uint32_t depth);
  ~RingMemory() override;
  RingMemory(const RingMemory&) = delete;
  RingMemory& operator=(const RingMemory&) = delete;

  WorkerPages worker_pages() const override;
  // What the client's end needs: it maps memory_fd itself. All stay open as long as this object; the client duplicates
  // what it keeps longer.
  int memory_fd() const { return memory_fd_; }
  int doorbell_fd() const override { return doorbell_fd_; }
  int wake_fd() const override { return wake_fd_; }
  uint32_t depth() const override { return layout_.depth; }
  bool foreign() const override { return false; }

  // Moves the queue out of MLRING_STATE_ACTIVE (once; later calls change nothing) and wakes both sides.
  void set_state(uint32_t state) override;

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
