// Where the memory for tensors comes from: what a transport's worker can be given.
#pragma once

#include <cstdint>
#include <memory>

#include "libmlclient/transport/unique_fd.h"

namespace ml::transport {

// A shared mapping, and the file behind it when another process has to be given it.
struct HostMemory {
  void* base = nullptr;
  UniqueFd fd;
};

// Any thread.
class MemorySource {
 public:
  virtual ~MemorySource() = default;
  // Zeroed memory that a forked child does not inherit. Throws out_of_memory, or no_space when there are no descriptors
  // left or a limit is met.
  virtual HostMemory make(std::uint64_t bytes) = 0;
};

// For a worker in this process.
std::shared_ptr<MemorySource> private_memory();
// Memfds, sealed against changing their size.
std::shared_ptr<MemorySource> sealed_memory();

// Maps it all, to read and to write; fd -1: anonymous memory.
void* map_for_tensors(int fd, std::uint64_t bytes);

}  // namespace ml::transport
