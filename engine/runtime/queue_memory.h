// The memory of one queue, as the worker's side holds it. Two makers: RingMemory (the embedded worker, which owns all
// of it) and SharedRingMemory (a worker process, whose state page belongs to mld).
#pragma once

#include <cstdint>

#include "engine/runtime/worker_ring.h"

namespace ml::runtime {

class QueueMemory {
 public:
  virtual ~QueueMemory() = default;
  virtual WorkerPages worker_pages() const = 0;
  virtual int doorbell_fd() const = 0;  // the client writes, the worker sleeps on it
  virtual int wake_fd() const = 0;      // the worker writes, the client sleeps on it
  virtual std::uint32_t depth() const = 0;
  // Another process holds the eventfds too: they are rung through an EventBell.
  virtual bool foreign() const = 0;
  // The queue ended (MLRING_STATE_*, once; later calls change nothing). Memory that owns its state page tells the
  // client there; otherwise the page's owner does.
  virtual void set_state(std::uint32_t state) = 0;
};

}  // namespace ml::runtime
