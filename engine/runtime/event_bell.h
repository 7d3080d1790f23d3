// Rings an eventfd that a hostile process holds too.
//
// Whether a write to an eventfd blocks is a flag of the open file, which all processes share that were given it: the
// other one can take O_NONBLOCK away and fill the counter, and a plain write would wait for ever. What the kernel
// itself signals never waits, so the eventfd is rung as the notice of an asynchronous read of nothing.
#pragma once

#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "ml/error.h"

namespace ml::runtime {

// Used by one thread.
class EventBell {
 public:
  EventBell() : nothing_(memfd_create("mlaccel-bell", MFD_CLOEXEC)) {
    if (nothing_ < 0 || syscall(SYS_io_setup, kNotices, &context_) != 0) {
      const std::string why = std::strerror(errno);
      if (nothing_ >= 0) close(nothing_);
      throw Error(Code::io, "asynchronous I/O: " + why, "event bell",
                  "the kernel must allow io_setup, and /proc/sys/fs/aio-max-nr have room");
    }
  }
  ~EventBell() {
    syscall(SYS_io_destroy, context_);
    close(nothing_);
  }
  EventBell(const EventBell&) = delete;
  EventBell& operator=(const EventBell&) = delete;

  // The eventfd is readable afterwards; a full counter already was.
  void ring(int eventfd) {
    iocb read{};
    read.aio_lio_opcode = IOCB_CMD_PREAD;
    read.aio_fildes = static_cast<std::uint32_t>(nothing_);
    read.aio_flags = IOCB_FLAG_RESFD;
    read.aio_resfd = static_cast<std::uint32_t>(eventfd);
    iocb* reads[] = {&read};
    // EAGAIN: the notices of earlier rings are still there.
    while (syscall(SYS_io_submit, context_, 1, reads) < 0 && errno == EAGAIN) forget_notices();
  }

 private:
  static constexpr long kNotices = 128;

  void forget_notices() {
    io_event notices[kNotices];
    timespec at_once{};
    syscall(SYS_io_getevents, context_, 0, kNotices, notices, &at_once);
  }

  aio_context_t context_ = 0;
  int nothing_;  // an empty file
};

}  // namespace ml::runtime
