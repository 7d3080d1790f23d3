// Memory for packed constants: written once, read in every run, and as long as its program lives.
//
// Buffers lie behind each other in chunks that begin where a huge page may, so that nearly all bytes can be in huge
// pages. They are written to small ones: those are there at once, while huge ones are memory that nobody has used for
// a while, which the host of a virtual machine has taken back and gives page by page. What has been written is moved
// later, a huge page at a time, while nothing waits.
#pragma once

#include <cstddef>
#include <memory>

#include "engine/backends/cpu/cpu_device.h"

namespace ml::cpu {

struct PackedChunk;

class PackedBuffer final : public CpuBuffer {
 public:
  // Zeroed memory, 64-byte aligned; throws out_of_memory.
  static std::shared_ptr<PackedBuffer> make(std::size_t size);
  ~PackedBuffer() override;

  // Says that it has been written: its pages may be moved from now on.
  void complete();

 private:
  PackedBuffer(std::shared_ptr<PackedChunk> chunk, std::size_t offset, std::size_t size);
  void count(bool complete);

  std::shared_ptr<PackedChunk> chunk_;
  std::size_t offset_;
  bool complete_ = false;
};

// Moves what lies in one huge page's worth of complete buffers of this process there, a fraction of a millisecond where
// the system has one; otherwise it stays where it is. False: nothing was left. Any thread.
bool move_to_huge_page();

}  // namespace ml::cpu
