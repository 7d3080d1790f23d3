#include "daemon/loop/dispatch.h"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <exception>

#include "ml/error.h"

namespace ml::daemon {
namespace {

// What goes wrong in one function (no memory, a defect of ours) ends that function and not everybody's daemon.
template <class F>
void guarded(const F& function) {
  try {
    function();
  } catch (const std::exception& error) {
    spdlog::critical("something was left half done, which is a defect of mld: {}", error.what());
  }
}

}  // namespace

DispatchingLoop::DispatchingLoop() : bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!bell_) throw Error(Code::io, std::string("eventfd: ") + std::strerror(errno), "event loop");
}

std::uint64_t DispatchingLoop::now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

void DispatchingLoop::watch(int fd, std::uint32_t events, Ready ready) {
  unwatch(fd);
  const Token token = Token{++serial_} << 32 | static_cast<std::uint32_t>(fd);
  add(token, events);
  watches_[fd] = {token, events, std::make_shared<Ready>(std::move(ready))};
}

void DispatchingLoop::unwatch(int fd) {
  const auto found = watches_.find(fd);
  if (found == watches_.end()) return;
  remove(found->second.token);
  watches_.erase(found);
}

Loop::TimerId DispatchingLoop::after(std::uint64_t nanoseconds, std::function<void()> run) {
  const std::uint64_t start = now();
  const std::uint64_t deadline = nanoseconds < kForever - start ? start + nanoseconds : kForever;
  const TimerId id = ++last_timer_;
  timers_.emplace(std::pair(deadline, id), std::move(run));
  deadlines_.emplace(id, deadline);
  return id;
}

void DispatchingLoop::cancel(TimerId timer) {
  const auto found = deadlines_.find(timer);
  if (found == deadlines_.end()) return;
  timers_.erase({found->second, timer});
  deadlines_.erase(found);
}

void DispatchingLoop::post(std::function<void()> run) {
  bool first;
  {
    const std::lock_guard lock(mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(run));
  }
  if (first) ring();
}

void DispatchingLoop::stop() {
  stopping_.store(true);
  ring();
}

void DispatchingLoop::ring() {
  const std::uint64_t one = 1;
  // A full counter (EAGAIN) is readable already.
  [[maybe_unused]] const ssize_t written = write(bell_.get(), &one, sizeof one);
}

void DispatchingLoop::run() {
  watch(bell_.get(), EPOLLIN, [this](std::uint32_t) {
    std::uint64_t count;
    [[maybe_unused]] const ssize_t got = read(bell_.get(), &count, sizeof count);
  });
  std::vector<News> news;
  while (!stopping_.exchange(false)) {
    news.clear();
    wait(timers_.empty() ? kForever : timers_.begin()->first.first, news);
    for (const News& item : news) {
      const auto found = watches_.find(fd_of(item.token));
      if (found == watches_.end() || found->second.token != item.token) continue;
      const std::shared_ptr<Ready> ready = found->second.ready;
      guarded([&] { (*ready)(item.events); });
      const auto still = watches_.find(fd_of(item.token));
      if (still != watches_.end() && still->second.token == item.token) handled(item.token, still->second.events);
    }
    run_posted();
    run_timers();
  }
  unwatch(bell_.get());
}

void DispatchingLoop::run_posted() {
  std::vector<std::function<void()>> batch;
  {
    const std::lock_guard lock(mutex_);
    batch.swap(posted_);
  }
  for (const auto& function : batch) guarded(function);
}

void DispatchingLoop::run_timers() {
  const std::uint64_t due = now();
  const TimerId newest = last_timer_;  // those made by these functions wait for the next turn
  while (!timers_.empty()) {
    const auto first = timers_.begin();
    if (first->first.first > due || first->first.second > newest) break;
    deadlines_.erase(first->first.second);
    const auto timer = timers_.extract(first);
    guarded(timer.mapped());
  }
}

std::unique_ptr<Loop> Loop::create(Kind kind, std::string* why_not) {
  if (kind == Kind::epoll) return make_epoll_loop();
  if (kind == Kind::io_uring) return make_uring_loop();
  try {
    return make_uring_loop();
  } catch (const Error& error) {
    if (why_not != nullptr) *why_not = error.message();
    return make_epoll_loop();
  }
}

}  // namespace ml::daemon
