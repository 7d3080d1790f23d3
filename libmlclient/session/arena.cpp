#include "libmlclient/session/arena.h"

#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "ml/error.h"

namespace ml::client {
namespace {

constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kArenaBytes = 64ull << 20;
constexpr std::uint64_t kWholeBytes = 8ull << 20;  // from here on a region has its own arena
constexpr std::uint64_t kKeepFree = 512ull << 20;  // of those, kept mapped for the next one
constexpr std::uint64_t kPage = 2ull << 20;        // they are rounded up to this

// Classes are 64, 80, 96, 112, 128, 160, ...: four in every power of two, in multiples of 64 where that is smaller.
std::uint32_t class_of(std::uint64_t bytes) {
  if (bytes <= kAlignment) return 0;
  const auto exponent = static_cast<std::uint32_t>(std::bit_width(bytes - 1) - 1);  // 2^exponent < bytes
  const std::uint64_t quarter = 1ull << (exponent - 2);
  const auto steps = static_cast<std::uint32_t>((bytes - (1ull << exponent) + quarter - 1) / quarter);  // 1 to 4
  return (exponent - 6) * 4 + steps;
}
std::uint64_t class_bytes(std::uint32_t size_class) {
  const std::uint32_t exponent = size_class / 4 + 6;
  const std::uint64_t bytes = (1ull << exponent) + (1ull << (exponent - 2)) * (size_class % 4);
  return (bytes + kAlignment - 1) & ~(kAlignment - 1);
}

// Mapping succeeds for more than there is, and filling it would end this process or another one.
std::uint64_t machine_bytes() {
  struct sysinfo machine {};
  if (sysinfo(&machine) != 0) return UINT64_MAX;
  return (std::uint64_t{machine.totalram} + machine.totalswap) * machine.mem_unit;
}

}  // namespace

ArenaPool::~ArenaPool() {
  for (const Arena& arena : shared_) unmap(arena);
  for (const auto& [id, arena] : whole_) unmap(arena);
}

ArenaPool::Arena ArenaPool::map(std::uint64_t bytes) {
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    throw Error(Code::out_of_memory,
                "cannot map " + std::to_string(bytes) + " bytes for tensors: " + std::strerror(errno), {},
                "drop tensors that are no longer needed");
  }
  madvise(base, bytes, MADV_DONTFORK);
  try {
    const Arena arena{static_cast<std::byte*>(base), bytes, transport_.add_arena(base, bytes)};
    mapped_ += bytes;
    return arena;
  } catch (...) {
    munmap(base, bytes);
    throw;
  }
}

void ArenaPool::unmap(const Arena& arena) noexcept {
  transport_.remove_arena(arena.id);
  munmap(arena.base, arena.bytes);
  mapped_ -= arena.bytes;
}

Region ArenaPool::allocate(std::uint64_t bytes) {
  static const std::uint64_t limit = machine_bytes();
  if (bytes > limit) {
    throw Error(Code::out_of_memory, "a tensor of " + std::to_string(bytes) +
                                         " bytes does not fit into this machine's " + std::to_string(limit) +
                                         " bytes of memory");
  }
  const std::lock_guard lock(mutex_);
  if (bytes >= kWholeBytes) return allocate_whole((bytes + kPage - 1) & ~(kPage - 1));
  const std::uint32_t size_class = class_of(bytes);
  if (free_.size() <= size_class) free_.resize(size_class + 1);
  std::vector<Region>& free = free_[size_class];
  if (!free.empty()) {
    const Region region = free.back();
    free.pop_back();
    return region;
  }
  const std::uint64_t size = class_bytes(size_class);
  if (shared_.empty() || size > shared_.back().bytes - cut_) {
    shared_.push_back(map(kArenaBytes));
    cut_ = 0;
  }
  const Arena& arena = shared_.back();
  const Region region{arena.id, size_class, cut_, size, arena.base + cut_};
  cut_ += size;
  return region;
}

Region ArenaPool::allocate_whole(std::uint64_t bytes) {
  const auto fit = free_whole_.lower_bound(bytes);
  if (fit != free_whole_.end() && fit->first <= bytes + bytes / 4) {
    const Region region = fit->second;
    free_whole_bytes_ -= fit->first;
    free_whole_.erase(fit);
    return region;
  }
  const Arena arena = map(bytes);
  whole_.emplace(arena.id, arena);
  return {arena.id, UINT32_MAX, 0, bytes, arena.base};
}

void ArenaPool::release(const Region& region) noexcept {
  const std::lock_guard lock(mutex_);
  if (region.size_class != UINT32_MAX) {
    free_[region.size_class].push_back(region);
    return;
  }
  free_whole_.emplace(region.bytes, region);
  free_whole_bytes_ += region.bytes;
  trim();
}

void ArenaPool::trim() {
  while (free_whole_bytes_ > kKeepFree) {
    const auto largest = std::prev(free_whole_.end());
    const auto arena = whole_.find(largest->second.arena);
    free_whole_bytes_ -= largest->first;
    free_whole_.erase(largest);
    unmap(arena->second);
    whole_.erase(arena);
  }
}

std::uint64_t ArenaPool::mapped_bytes() const {
  const std::lock_guard lock(mutex_);
  return mapped_;
}

}  // namespace ml::client
