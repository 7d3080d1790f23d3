// The loop on io_uring. Every watch is a one-shot POLL_ADD that is made again when its function has run, which makes it
// level-triggered: a poll of what is ready already completes at once. Requests are collected and cross into the kernel
// together with the wait, so a turn costs one system call however many fds it is about.
#include <liburing.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "daemon/loop/dispatch.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

constexpr unsigned kEntries = 256;
constexpr std::uint64_t kNobody = 0;  // user_data of a cancellation; no token is 0

[[noreturn]] void refuse(const char* call, int error) {
  throw Error(Code::unsupported, std::string(call) + ": " + std::strerror(error), "event loop");
}

class UringLoop final : public DispatchingLoop {
 public:
  UringLoop() {
    if (const int result = io_uring_queue_init(kEntries, &ring_, 0); result < 0) refuse("io_uring_setup", -result);
    // Waiting with a timeout needs no request of its own; completions are never dropped.
    constexpr unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;
    if ((ring_.features & needed) == needed) return;
    io_uring_queue_exit(&ring_);
    throw Error(Code::unsupported, "io_uring of this kernel is older than Linux 5.11", "event loop");
  }
  ~UringLoop() override { io_uring_queue_exit(&ring_); }
  UringLoop(const UringLoop&) = delete;
  UringLoop& operator=(const UringLoop&) = delete;
  const char* name() const override { return "io_uring"; }

 private:
  struct Poll {
    Token token;
    std::uint32_t events;
  };

  // Polls wait in a list until the loop waits: one that is removed before that never names an fd that may be closed
  // by then.
  void add(Token token, std::uint32_t events) override { to_add_.push_back({token, events}); }
  void handled(Token token, std::uint32_t events) override { add(token, events); }
  void remove(Token token) override {
    if (std::erase_if(to_add_, [token](const Poll& poll) { return poll.token == token; }) == 0)
      to_remove_.push_back(token);
  }

  io_uring_sqe* next_request() {
    io_uring_sqe* request = io_uring_get_sqe(&ring_);
    while (request == nullptr) {
      if (const int result = io_uring_submit(&ring_);
          result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
        throw Error(Code::io, std::string("io_uring_submit: ") + std::strerror(-result), "event loop");
      request = io_uring_get_sqe(&ring_);
    }
    return request;
  }

  void wait(std::uint64_t deadline, std::vector<News>& news) override {
    for (const Token token : to_remove_) {
      io_uring_sqe* const request = next_request();
      io_uring_prep_poll_remove(request, token);
      io_uring_sqe_set_data64(request, kNobody);
    }
    to_remove_.clear();
    for (const Poll& poll : to_add_) {
      io_uring_sqe* const request = next_request();
      io_uring_prep_poll_add(request, fd_of(poll.token), poll.events);
      io_uring_sqe_set_data64(request, poll.token);
    }
    to_add_.clear();

    __kernel_timespec timeout{};
    const std::uint64_t time = deadline == kForever ? 0 : now();
    if (deadline > time) {
      timeout.tv_sec = static_cast<__s64>((deadline - time) / 1'000'000'000);
      timeout.tv_nsec = static_cast<long long>((deadline - time) % 1'000'000'000);
    }
    io_uring_cqe* first = nullptr;
    const int result =
        io_uring_submit_and_wait_timeout(&ring_, &first, 1, deadline == kForever ? nullptr : &timeout, nullptr);
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN && result != -EBUSY)
      throw Error(Code::io, std::string("io_uring_enter: ") + std::strerror(-result), "event loop");
    const unsigned count = io_uring_peek_batch_cqe(&ring_, done_.data(), kEntries);
    for (unsigned i = 0; i < count; ++i) {
      const std::uint64_t token = io_uring_cqe_get_data64(done_[i]);
      // A poll that failed (the fd is none) is an error of the fd; one that was removed is nobody's by now.
      const std::uint32_t events = done_[i]->res < 0 ? EPOLLERR : static_cast<std::uint32_t>(done_[i]->res);
      if (token != kNobody) news.push_back({token, events});
    }
    io_uring_cq_advance(&ring_, count);
  }

  io_uring ring_{};
  std::vector<Poll> to_add_;
  std::vector<Token> to_remove_;
  std::array<io_uring_cqe*, kEntries> done_{};
};

}  // namespace

std::unique_ptr<Loop> make_uring_loop() { return std::make_unique<UringLoop>(); }

}  // namespace ml::daemon
