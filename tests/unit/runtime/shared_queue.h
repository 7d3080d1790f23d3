// A queue as mld and its client hold it: three files, two eventfds, the client's mappings of them.
#pragma once

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <stdexcept>

#include "engine/runtime/shared_ring_memory.h"
#include "engine/runtime/worker.h"
#include "libmlclient/transport/client_ring.h"

namespace ml::test {

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {
    if (fd_ < 0) throw std::runtime_error("no fd");
  }
  ~Fd() { close(fd_); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  operator int() const { return fd_; }  // NOLINT(google-explicit-constructor): it is one

 private:
  int fd_;
};

inline int sealed_memfd(std::uint64_t bytes, int seals = F_SEAL_SHRINK | F_SEAL_GROW) {
  const int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0 || fcntl(fd, F_ADD_SEALS, seals) != 0)
    throw std::runtime_error("memfd");
  return fd;
}

inline mlring_layout layout_of(std::uint32_t depth) {
  mlring_layout layout{};
  mlring_compute_layout(&layout, depth, static_cast<std::uint32_t>(sysconf(_SC_PAGESIZE)));
  return layout;
}

class Mapping {
 public:
  Mapping(int fd, std::uint64_t bytes, int protection)
      : at(mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0)), bytes_(bytes) {
    if (at == MAP_FAILED) throw std::runtime_error("mmap");
  }
  ~Mapping() { munmap(at, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  void* const at;

 private:
  std::uint64_t bytes_;
};

// What mld makes of a queue.
struct QueueParts {
  explicit QueueParts(std::uint32_t its_depth) : depth(its_depth), layout(layout_of(its_depth)) {
    auto* header = static_cast<mlring_submission_header*>(submission_view.at);
    header->tail = header->completion_head = MLRING_START;
    auto* page = static_cast<mlring_state*>(state_view.at);
    page->generation = 1;
    page->notify_at = MLRING_NEVER;
    MLRING_STORE_RELEASE(&page->state, MLRING_STATE_ACTIVE);
  }
  runtime::QueueFiles files() const { return {submission, state, doorbell, wake}; }

  std::uint32_t depth;
  mlring_layout layout;
  Fd submission{sealed_memfd(layout.submission_bytes)};
  Fd state{sealed_memfd(layout.state_bytes)};
  Fd doorbell{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  Fd wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  Mapping submission_view{submission, layout.submission_bytes, PROT_READ | PROT_WRITE};
  Mapping state_view{state, layout.state_bytes, PROT_READ | PROT_WRITE};
};

// The whole queue: attached to a worker, and the client's ring. Whoever closes it does so before this goes.
class SharedQueue {
 public:
  SharedQueue(runtime::Worker& worker, runtime::Session& session, std::uint32_t depth = 64,
              runtime::QueueOptions options = {})
      : parts_(depth),
        memory_(std::make_unique<runtime::SharedRingMemory>(parts_.files(), depth)),
        completion_(memory_->completion_fd(), parts_.layout.completion_bytes, PROT_READ),
        queue(worker.attach_queue(session, std::move(memory_), std::move(options))),
        ring({static_cast<mlring_submission_header*>(parts_.submission_view.at),
              static_cast<const mlring_completion_header*>(completion_.at),
              static_cast<const mlring_state*>(parts_.state_view.at), depth},
             parts_.doorbell, parts_.wake) {}

  QueueParts& parts() { return parts_; }

 private:
  QueueParts parts_;
  std::unique_ptr<runtime::SharedRingMemory> memory_;  // until the worker takes it
  Mapping completion_;

 public:
  runtime::Queue& queue;
  transport::ClientRing ring;

  // Blocks until the descriptor is answered.
  transport::Completion run(const mlring_descriptor& descriptor) {
    transport::Completion completion{};
    if (!ring.submit(descriptor)) throw std::runtime_error("not submitted");
    while (!ring.poll(completion)) {
      if (!ring.wait() && ring.state() != transport::RingState::active) throw std::runtime_error("the queue has ended");
    }
    return completion;
  }
};

}  // namespace ml::test
