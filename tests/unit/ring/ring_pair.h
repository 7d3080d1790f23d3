// Both ends of one queue over one memfd that is mapped twice, as client and worker would in two processes.
#pragma once

#include <sys/mman.h>

#include <array>
#include <stdexcept>

#include "engine/runtime/ring_memory.h"
#include "engine/runtime/worker_ring.h"
#include "libmlclient/transport/client_ring.h"
#include "libmlclient/transport/ring_mapping.h"

namespace ml::test {

struct RingPair {
  explicit RingPair(uint32_t depth)
      : memory(depth),
        mapping(memory.memory_fd(), depth),
        worker(memory.worker_pages(), memory.wake_fd()),
        client(mapping.pages(), memory.doorbell_fd(), memory.wake_fd()) {}

  // Takes and answers everything, as a worker would that does nothing but NOPs.
  std::size_t serve() {
    std::array<runtime::TakenDescriptor, 64> taken;
    std::size_t all = 0;
    while (const std::size_t n = worker.take(taken, 1)) {
      for (std::size_t i = 0; i < n; ++i) worker.complete(taken[i].slot, {});
      all += n;
    }
    worker.publish();
    return all;
  }

  runtime::RingMemory memory;
  transport::RingMapping mapping;
  runtime::WorkerRing worker;
  transport::ClientRing client;
};

// A third mapping in which everything is writable: what a hostile side does to its own pages.
class HostileView {
 public:
  HostileView(int memory_fd, uint32_t depth) {
    mlring_compute_layout(&layout, depth, 4096);
    base_ = static_cast<char*>(mmap(nullptr, layout.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0));
    if (base_ == MAP_FAILED) throw std::runtime_error("mmap");
  }
  ~HostileView() { munmap(base_, layout.bytes); }
  HostileView(const HostileView&) = delete;
  HostileView& operator=(const HostileView&) = delete;

  mlring_submission_header& submission() { return *at<mlring_submission_header>(layout.submission_offset); }
  mlring_completion_header& completion() { return *at<mlring_completion_header>(layout.completion_offset); }
  mlring_state& state() { return *at<mlring_state>(layout.state_offset); }
  mlring_descriptor& descriptor(uint32_t index) {
    return at<mlring_descriptor>(layout.submission_offset + layout.descriptors)[index & layout.mask];
  }
  mlring_completion& completed(uint32_t index) {
    return at<mlring_completion>(layout.completion_offset + layout.completions)[index & layout.mask];
  }

  mlring_layout layout{};

 private:
  template <typename T>
  T* at(uint64_t offset) {
    return reinterpret_cast<T*>(base_ + offset);
  }
  char* base_;
};

inline mlring_descriptor nop(uint64_t user_data = 0) {
  mlring_descriptor d{};
  d.user_data = user_data;
  return d;
}

}  // namespace ml::test
