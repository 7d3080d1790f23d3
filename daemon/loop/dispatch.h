// What both event loops share: who watches which fd, timers, and functions from other threads. An implementation adds
// how to learn that an fd is ready.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/loop/loop.h"
#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

class DispatchingLoop : public Loop {
 public:
  DispatchingLoop();

  void watch(int fd, std::uint32_t events, Ready ready) final;
  void unwatch(int fd) final;
  TimerId after(std::uint64_t nanoseconds, std::function<void()> run) final;
  void cancel(TimerId timer) final;
  void post(std::function<void()> run) final;
  void run() final;
  void stop() final;

 protected:
  // Names one watch of an fd: the number in the low half, and what is never the same for two watches in the high one,
  // so that news of an earlier file with that number is recognized.
  using Token = std::uint64_t;
  static int fd_of(Token token) { return static_cast<int>(token & 0xffffffff); }

  struct News {
    Token token;
    std::uint32_t events;
  };

  virtual void add(Token token, std::uint32_t events) = 0;
  virtual void remove(Token token) = 0;
  // The function of a watch has run; it is still watched.
  virtual void handled(Token token, std::uint32_t events) = 0;
  // Waits for news, at most until `deadline` (CLOCK_MONOTONIC ns; 0: not at all; kForever), and appends them.
  virtual void wait(std::uint64_t deadline, std::vector<News>& news) = 0;
  static constexpr std::uint64_t kForever = ~std::uint64_t{0};
  static std::uint64_t now();

 private:
  struct Watch {
    Token token;
    std::uint32_t events;
    std::shared_ptr<Ready> ready;  // shared with the call under way, which may unwatch
  };
  void ring();
  void run_posted();
  void run_timers();

  std::unordered_map<int, Watch> watches_;
  std::uint32_t serial_ = 0;
  std::map<std::pair<std::uint64_t, TimerId>, std::function<void()>> timers_;  // by deadline, then by age
  std::unordered_map<TimerId, std::uint64_t> deadlines_;
  TimerId last_timer_ = 0;

  transport::UniqueFd bell_;  // eventfd: something was posted, or stop()
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
};

std::unique_ptr<Loop> make_epoll_loop();
// Throws unsupported with the system's reason.
std::unique_ptr<Loop> make_uring_loop();

}  // namespace ml::daemon
