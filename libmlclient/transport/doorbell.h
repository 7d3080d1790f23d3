// What wakes the worker of a parked ring: an eventfd that it sleeps on, or the kernel, which made the queue.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "kernel/uapi/mlaccel_drm.h"

namespace ml::transport {

// Holds no file: whoever made it keeps it open.
class Doorbell {
 public:
  explicit Doorbell(int eventfd) : fd_(eventfd) {}
  // Queue `queue` of a node of the kernel module.
  static Doorbell of_kernel(int node, std::uint32_t queue) {
    Doorbell doorbell(node);
    doorbell.queue_ = queue;
    return doorbell;
  }

  // One system call. Why a queue can't be rung any more is in its state page.
  void ring() const {
    if (queue_ == 0) {
      const std::uint64_t one = 1;
      // A full counter (EAGAIN) wakes the worker just as well.
      [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof one);
      return;
    }
    drm_mlaccel_doorbell which{queue_, 0};
    while (ioctl(fd_, DRM_IOCTL_MLACCEL_DOORBELL, &which) != 0 && errno == EINTR) continue;
  }

 private:
  int fd_;
  std::uint32_t queue_ = 0;  // the kernel counts them from 1
};

}  // namespace ml::transport
