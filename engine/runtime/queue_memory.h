// The memory of one queue, as the worker's side holds it. Three makers: RingMemory (the embedded worker, which owns all
// of it), SharedRingMemory (a worker process, whose state page belongs to mld) and the daemon's KernelQueue (a worker
// process, all pages belong to the kernel).
#pragma once

#include <cstdint>

#include "engine/runtime/worker_ring.h"

namespace ml::runtime {

class Queue;

class QueueMemory {
 public:
  virtual ~QueueMemory() = default;
  virtual WorkerPages worker_pages() const = 0;
  // The client writes, the worker sleeps on it; -1: the worker's EventSource hears of its doorbell.
  virtual int doorbell_fd() const = 0;
  virtual int wake_fd() const = 0;  // the worker writes, the client sleeps on it; -1: the owner wakes it
  virtual std::uint32_t depth() const = 0;
  // Another process holds the eventfds too: they are rung through an EventBell.
  virtual bool foreign() const = 0;
  // Who wakes the client, and is told of what it waits for itself; null: nobody but wake_fd().
  virtual RingOwner* owner() { return nullptr; }
  // On the ring thread: whom doorbells and ends that the EventSource hears of are for, from now on; null: nobody.
  virtual void heard_by(Queue*) {}
  // The queue ended (MLRING_STATE_*, once; later calls change nothing). Memory that owns its state page tells the
  // client there; otherwise the page's owner does.
  virtual void set_state(std::uint32_t state) = 0;
};

}  // namespace ml::runtime
