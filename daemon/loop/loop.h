// mld's event loop: file descriptors, timers, and work handed in from other threads, all run on one thread, so that
// what mld knows needs no locks. Two implementations: io_uring, and epoll where the kernel or a container refuses
// io_uring.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace ml::daemon {

class Loop {
 public:
  using Ready = std::function<void(std::uint32_t events)>;  // EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR
  using TimerId = std::uint64_t;

  enum class Kind { automatic, io_uring, epoll };
  // automatic: io_uring, or epoll with the reason in `why_not` (may be null). io_uring: throws where it is refused.
  static std::unique_ptr<Loop> create(Kind kind, std::string* why_not);
  virtual ~Loop() = default;

  virtual const char* name() const = 0;  // "io_uring", "epoll"
  // Calls `ready` while one of `events` (EPOLLIN, EPOLLOUT; HUP and ERR always) holds: level-triggered. One watch per
  // fd; watching again changes events and function. A function may unwatch any fd, its own too.
  virtual void watch(int fd, std::uint32_t events, Ready ready) = 0;
  // Behind it `ready` is never called again, and fd may be closed.
  virtual void unwatch(int fd) = 0;
  virtual TimerId after(std::uint64_t nanoseconds, std::function<void()> run) = 0;
  virtual void cancel(TimerId timer) = 0;  // of one that has run already: nothing
  // From any thread: runs it on the loop's thread, in order.
  virtual void post(std::function<void()> run) = 0;
  virtual void run() = 0;   // until stop()
  virtual void stop() = 0;  // from any thread
};

}  // namespace ml::daemon
