// What tells the ring thread of its queues besides eventfds: the kernel, by the file of the worker that it has started.
#pragma once

#include <cstdint>

namespace ml::runtime {

// The ring thread sleeps on fd(). One that doesn't get to sleep calls take() now and then.
class EventSource {
 public:
  virtual ~EventSource() = default;
  virtual int fd() const = 0;  // readable while there is something to take
  // On the ring thread: hands on a bounded number of events, without waiting. False: none will come any more.
  virtual bool take(std::uint64_t now) = 0;
};

}  // namespace ml::runtime
