#include "engine/backends/cpu/packed_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/backends/cpu/partition.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif

namespace ml::cpu {
namespace {

constexpr std::size_t kHugePage = 2u << 20;
constexpr std::size_t kChunk = 16 * kHugePage;
// A larger buffer has a chunk of its own: none is left half empty for it.
constexpr std::size_t kShares = kChunk / 4;

}  // namespace

struct PackedChunk {
  explicit PackedChunk(std::size_t size) : memory(size), complete(size / kHugePage) {}

  CpuBuffer memory;
  std::size_t used = 0;
  std::vector<std::size_t> complete;  // bytes of each huge page that belong to complete buffers
};

namespace {

// What one huge page can hold of a chunk.
struct Piece {
  std::weak_ptr<PackedChunk> chunk;
  std::size_t index;
};

struct Chunks {
  std::mutex mutex;
  std::shared_ptr<PackedChunk> current;
  std::vector<Piece> ready;  // all of it complete
  std::atomic<bool> any_ready{false};
};

// Of the process. Never destroyed: threads may ask for idle work while static objects are.
Chunks& chunks() {
  static Chunks& all = *new Chunks;
  return all;
}

std::size_t room_for(std::size_t size) { return std::max<std::size_t>(aligned_size(size), 64); }

}  // namespace

PackedBuffer::PackedBuffer(std::shared_ptr<PackedChunk> chunk, std::size_t offset, std::size_t size)
    : CpuBuffer(chunk->memory.data() + offset, size), chunk_(std::move(chunk)), offset_(offset) {}

std::shared_ptr<PackedBuffer> PackedBuffer::make(std::size_t size) {
  const std::size_t wanted = room_for(size);
  Chunks& all = chunks();
  std::shared_ptr<PackedChunk> chunk;
  std::size_t offset = 0;
  if (wanted > kShares) {
    chunk = std::make_shared<PackedChunk>((wanted + kHugePage - 1) / kHugePage * kHugePage);
  } else {
    const std::lock_guard lock(all.mutex);
    if (!all.current || all.current->used + wanted > kChunk) all.current = std::make_shared<PackedChunk>(kChunk);
    chunk = all.current;
    offset = chunk->used;
    chunk->used += wanted;
  }
  return std::shared_ptr<PackedBuffer>(new PackedBuffer(std::move(chunk), offset, size));
}

PackedBuffer::~PackedBuffer() {
  if (complete_) count(false);
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(data() + size()) / page * page;
  // Others may be in the chunk for long.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void PackedBuffer::complete() {
  complete_ = true;
  count(true);
}

void PackedBuffer::count(bool complete) {
  Chunks& all = chunks();
  const std::lock_guard lock(all.mutex);
  const std::size_t end = offset_ + room_for(size());
  for (std::size_t at = offset_; at < end;) {
    const std::size_t index = at / kHugePage, bytes = std::min(end, (index + 1) * kHugePage) - at;
    std::size_t& counted = chunk_->complete[index];
    counted = complete ? counted + bytes : counted - bytes;
    if (complete && counted == kHugePage) all.ready.push_back({chunk_, index});
    at += bytes;
  }
  all.any_ready.store(!all.ready.empty(), std::memory_order_relaxed);
}

bool move_to_huge_page() {
  Chunks& all = chunks();
  if (!all.any_ready.load(std::memory_order_relaxed)) return false;
  std::shared_ptr<PackedChunk> chunk;
  std::size_t index = 0;
  {
    const std::lock_guard lock(all.mutex);
    while (!all.ready.empty() && !chunk) {
      chunk = all.ready.back().chunk.lock();
      index = all.ready.back().index;
      all.ready.pop_back();
      if (chunk && chunk->complete[index] != kHugePage) chunk.reset();
    }
    all.any_ready.store(!all.ready.empty(), std::memory_order_relaxed);
  }
  if (!chunk) return false;
  // Advice, both: an older system moves it in its own time, and nothing depends on it.
  std::byte* const piece = chunk->memory.data() + index * kHugePage;
  madvise(piece, kHugePage, MADV_HUGEPAGE);
  madvise(piece, kHugePage, MADV_COLLAPSE);
  return true;
}

}  // namespace ml::cpu
