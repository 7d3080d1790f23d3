// The loop where io_uring is refused: level-triggered epoll.
#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "daemon/loop/dispatch.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

constexpr int kBatch = 256;

[[noreturn]] void refuse(const char* call, int fd) {
  throw Error(Code::io, std::string(call) + ": " + std::strerror(errno), "event loop, fd " + std::to_string(fd));
}

class EpollLoop final : public DispatchingLoop {
 public:
  EpollLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_) refuse("epoll_create1", -1);
  }
  const char* name() const override { return "epoll"; }

 private:
  void add(Token token, std::uint32_t events) override {
    epoll_event event{.events = events, .data = {.u64 = token}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd_of(token), &event) != 0) refuse("epoll_ctl", fd_of(token));
  }
  void remove(Token token) override {
    epoll_event event{};
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd_of(token), &event);
  }
  void handled(Token, std::uint32_t) override {}

  void wait(std::uint64_t deadline, std::vector<News>& news) override {
    timespec timeout{};
    const std::uint64_t time = deadline == kForever ? 0 : now();
    if (deadline > time) {
      timeout.tv_sec = static_cast<time_t>((deadline - time) / 1'000'000'000);
      timeout.tv_nsec = static_cast<long>((deadline - time) % 1'000'000'000);
    }
    const int count =
        epoll_pwait2(epoll_.get(), events_.data(), kBatch, deadline == kForever ? nullptr : &timeout, nullptr);
    if (count < 0 && errno != EINTR) refuse("epoll_pwait2", epoll_.get());
    for (int i = 0; i < count; ++i) news.push_back({events_[i].data.u64, events_[i].events});
  }

  transport::UniqueFd epoll_;
  std::array<epoll_event, kBatch> events_{};
};

}  // namespace

std::unique_ptr<Loop> make_epoll_loop() { return std::make_unique<EpollLoop>(); }

}  // namespace ml::daemon
