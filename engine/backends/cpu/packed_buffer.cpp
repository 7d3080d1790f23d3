#include "engine/backends/cpu/packed_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
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

// Of one program.
struct Chunks {
  std::mutex mutex;
  std::shared_ptr<PackedChunk> current;
};

// What one huge page can hold of a chunk, all of it complete.
struct Piece {
  std::weak_ptr<PackedChunk> chunk;
  std::size_t index;
};

struct Pieces {
  std::mutex mutex;
  std::vector<Piece> ready;
  std::atomic<bool> any{false};
};

// Of the process. Never destroyed: threads may ask for idle work while static objects are.
Pieces& pieces() {
  static Pieces& all = *new Pieces;
  return all;
}

std::size_t room_for(std::size_t size) { return std::max<std::size_t>(aligned_size(size), 64); }

}  // namespace

PackedBuffer::PackedBuffer(std::shared_ptr<PackedChunk> chunk, std::size_t offset, std::size_t size)
    : CpuBuffer(chunk->memory.data() + offset, size), chunk_(std::move(chunk)), offset_(offset) {}

std::shared_ptr<PackedBuffer> PackedBuffer::make(PackCache& packs, std::size_t size) {
  const std::size_t wanted = room_for(size);
  std::shared_ptr<PackedChunk> chunk;
  std::size_t offset = 0;
  if (wanted > kShares) {
    chunk = std::make_shared<PackedChunk>((wanted + kHugePage - 1) / kHugePage * kHugePage);
  } else {
    Chunks& chunks = packs.shared<Chunks>();
    const std::lock_guard lock(chunks.mutex);
    if (!chunks.current || chunks.current->used + wanted > kChunk)
      chunks.current = std::make_shared<PackedChunk>(kChunk);
    chunk = chunks.current;
    offset = chunk->used;
    chunk->used += wanted;
  }
  return std::shared_ptr<PackedBuffer>(new PackedBuffer(std::move(chunk), offset, size));
}

void PackedBuffer::complete() {
  Pieces& all = pieces();
  const std::lock_guard lock(all.mutex);
  const std::size_t end = offset_ + room_for(size());
  all.ready.reserve(all.ready.size() + (end - offset_) / kHugePage + 2);
  for (std::size_t at = offset_; at < end;) {
    const std::size_t index = at / kHugePage, bytes = std::min(end, (index + 1) * kHugePage) - at;
    chunk_->complete[index] += bytes;
    if (chunk_->complete[index] == kHugePage) all.ready.push_back({chunk_, index});
    at += bytes;
  }
  all.any.store(!all.ready.empty(), std::memory_order_relaxed);
}

bool move_to_huge_page() {
  Pieces& all = pieces();
  if (!all.any.load(std::memory_order_relaxed)) return false;
  std::shared_ptr<PackedChunk> chunk;
  std::size_t index = 0;
  {
    const std::lock_guard lock(all.mutex);
    while (!all.ready.empty() && !chunk) {
      chunk = all.ready.back().chunk.lock();
      index = all.ready.back().index;
      all.ready.pop_back();
    }
    all.any.store(!all.ready.empty(), std::memory_order_relaxed);
  }
  if (!chunk) return false;
  // Advice, both: an older system moves it in its own time, and nothing depends on it.
  std::byte* const piece = chunk->memory.data() + index * kHugePage;
  madvise(piece, kHugePage, MADV_HUGEPAGE);
  madvise(piece, kHugePage, MADV_COLLAPSE);
  return true;
}

}  // namespace ml::cpu
