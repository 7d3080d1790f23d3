#include "engine/runtime/wakeup.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "engine/runtime/clock.h"
#include "ml/error.h"

namespace ml::runtime {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

[[noreturn]] void refuse(const char* what) {
  throw Error(Code::io, std::string(what) + ": " + std::strerror(errno), "ring thread");
}

}  // namespace

// Edge-triggered: every write wakes once, and no counter has to be read.
Wakeup::Wakeup() : epoll_(epoll_create1(EPOLL_CLOEXEC)), bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  if (epoll_ < 0 || bell_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, bell_, &event) != 0) refuse("epoll");
}

Wakeup::~Wakeup() {
  close(bell_);
  close(epoll_);
}

void Wakeup::add(Queue& queue, int doorbell_fd) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = &queue;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, doorbell_fd, &event) != 0) refuse("epoll_ctl");
}

void Wakeup::remove(int doorbell_fd) { epoll_ctl(epoll_, EPOLL_CTL_DEL, doorbell_fd, nullptr); }

// Level-triggered: what a bounded look has left there wakes once more.
void Wakeup::watch(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = this;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) refuse("epoll_ctl");
}

void Wakeup::unwatch(int fd) { remove(fd); }

void Wakeup::wake() {
  if (!asleep_.claim()) return;
  const std::uint64_t one = 1;
  // A full counter (EAGAIN) has woken it already.
  [[maybe_unused]] const ssize_t written = write(bell_, &one, sizeof(one));
}

void Wakeup::wait(std::uint64_t deadline) {
  timespec left{};
  if (deadline != 0) {
    const std::uint64_t now = monotonic_now();
    const std::uint64_t nanoseconds = deadline > now ? deadline - now : 0;
    left.tv_sec = static_cast<time_t>(nanoseconds / kSecond);
    left.tv_nsec = static_cast<long>(nanoseconds % kSecond);
  }
  epoll_event events[kBatch];
  const int count = epoll_pwait2(epoll_, events, kBatch, deadline != 0 ? &left : nullptr, nullptr);
  for (int i = 0; i < count; ++i) {
    if (events[i].data.ptr == this)
      watched_ready_ = true;
    else if (events[i].data.ptr != nullptr)
      rung_[rung_count_++] = static_cast<Queue*>(events[i].data.ptr);
  }
}

}  // namespace ml::runtime
