// Memory for a program's packed constants: written once, read in every run, given back when the program goes.
//
// Buffers lie behind each other in chunks that begin where a huge page may, so that nearly all bytes can be in huge
// pages. They are written to small ones: those are there at once, while huge ones are memory that nobody has used for
// a while, which the host of a virtual machine has taken back and gives page by page. What has been written is moved
// later, a huge page at a time, while nothing waits.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>

#include "engine/backends/cpu/cpu_device.h"

namespace ml::cpu {

struct PackedChunk;

// Keeps its chunk alive.
class PackedBuffer final : public CpuBuffer {
 public:
  // Zeroed memory of the program's, 64-byte aligned; throws out_of_memory. Any thread.
  static std::shared_ptr<PackedBuffer> make(PackCache& packs, std::size_t size);

  // Says that it has been written, once: its pages may be moved from now on.
  void complete();

 private:
  PackedBuffer(std::shared_ptr<PackedChunk> chunk, std::size_t offset, std::size_t size);

  std::shared_ptr<PackedChunk> chunk_;
  std::size_t offset_;
};

// Moves what lies in one huge page's worth of complete buffers of this process there, mostly in a fraction of a
// millisecond; where the system has no huge page it stays where it is. False: nothing was left. Any thread.
bool move_to_huge_page();

}  // namespace ml::cpu
