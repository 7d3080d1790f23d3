// The client's mapping of a queue's memory: its own pages writable, the worker's and the owner's read-only, none of
// them inherited by a forked child.
#pragma once

#include <cstdint>

#include "libmlclient/transport/client_ring.h"

namespace ml::transport {

// A queue whose three runs of pages are a file each.
struct RingFiles {
  int submission, completion, state;
};

// A queue that the kernel made, by the fd that it gave: all its pages in one file, each with the only access that there
// is.
struct KernelQueueFile {
  int fd;
};

class RingMapping {
 public:
  // Maps the memfd of a queue of that depth; the fd may be closed afterwards. Throws ml::Error when depth, size
  // or seals (the memory must not shrink) are wrong and when the system refuses.
  RingMapping(int memory_fd, uint32_t depth);
  RingMapping(const RingFiles& files, uint32_t depth);
  RingMapping(KernelQueueFile file, uint32_t depth);
  ~RingMapping();
  RingMapping(const RingMapping&) = delete;
  RingMapping& operator=(const RingMapping&) = delete;

  ClientPages pages() const;

 private:
  explicit RingMapping(uint32_t depth);
  void map_all(int fd);
  void unmap();

  mlring_layout layout_{};
  void* submission_ = nullptr;
  const void* completion_ = nullptr;
  const void* state_ = nullptr;
};

}  // namespace ml::transport
