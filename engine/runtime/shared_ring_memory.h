// The memory of a queue between two processes that don't trust each other, as the worker process holds it. Each run of
// pages is a file of its own, so that each side can be given write access to its own pages alone:
//
//   submission  made by mld, mapped read-only here
//   completion  made here, mapped writable and then sealed, so that nobody can map it writable again
//   state       made by mld, mapped read-only here
#pragma once

#include <cstdint>

#include "engine/runtime/queue_memory.h"

namespace ml::runtime {

// What a worker process is given of a queue.
struct QueueFiles {
  int submission;  // memfd of mlring_layout::submission_bytes, sealed with SHRINK and GROW
  int state;       // memfd of mlring_layout::state_bytes, sealed with SHRINK and GROW
  int doorbell;    // eventfd
  int wake;        // eventfd
};

class SharedRingMemory final : public QueueMemory {
 public:
  // The caller closes its files whenever it likes. Throws invalid_argument for a depth, size, seal or kind of file that
  // is wrong, io when the system refuses.
  SharedRingMemory(const QueueFiles& files, std::uint32_t depth);
  ~SharedRingMemory() override;
  SharedRingMemory(const SharedRingMemory&) = delete;
  SharedRingMemory& operator=(const SharedRingMemory&) = delete;

  // The client maps it read-only; stays open as long as this object.
  int completion_fd() const { return completion_fd_; }

  WorkerPages worker_pages() const override;
  int doorbell_fd() const override { return doorbell_fd_; }
  int wake_fd() const override { return wake_fd_; }
  std::uint32_t depth() const override { return layout_.depth; }
  bool foreign() const override { return true; }
  void set_state(std::uint32_t) override {}  // mld's to write

 private:
  void close_all();

  mlring_layout layout_{};
  int completion_fd_ = -1;
  int doorbell_fd_ = -1;
  int wake_fd_ = -1;
  const void* submission_ = nullptr;
  void* completion_ = nullptr;
  const void* state_ = nullptr;
};

}  // namespace ml::runtime
