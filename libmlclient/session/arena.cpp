#include "libmlclient/session/arena.h"

#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <bit>
#include <string>

#include "libmlclient/session/connection.h"
#include "ml/error.h"

namespace ml::client {
namespace {

constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kFirstBytes = 4ull << 20;  // of the first arena that is cut; each is twice the one before ...
constexpr std::size_t kDoublings = 4;              // ... up to 64 MiB
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

Arena::Arena(std::uint64_t bytes, transport::MemorySource& source) : memory_(source.make(bytes)), bytes_(bytes) {}

Arena::~Arena() {
  const auto id = static_cast<std::uint32_t>(known_.load(std::memory_order_acquire));
  if (const auto connection = given_to_.lock()) connection->transport().remove_arena(id);
  munmap(memory_.base, bytes_);
}

std::uint32_t Arena::id_in(Connection& connection) {
  const std::uint64_t known = known_.load(std::memory_order_acquire);
  return known >> 32 == connection.generation() ? static_cast<std::uint32_t>(known) : give_to(connection);
}

std::uint32_t Arena::give_to(Connection& connection) {
  const std::lock_guard lock(giving_);
  const std::uint64_t known = known_.load(std::memory_order_relaxed);
  if (known >> 32 == connection.generation()) return static_cast<std::uint32_t>(known);  // another thread was first
  if (known >> 32 > connection.generation()) connection.throw_lost();
  const std::uint32_t id = connection.transport().add_arena(memory_.base, bytes_, memory_.fd.get());
  given_to_ = connection.weak_from_this();
  known_.store(std::uint64_t{connection.generation()} << 32 | id, std::memory_order_release);
  return id;
}

void ArenaPool::use(std::shared_ptr<transport::MemorySource> source) {
  const std::lock_guard lock(mutex_);
  source_ = std::move(source);
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
  if (cut_up_.empty() || size > cut_up_.back()->bytes() - cut_) {
    const std::uint64_t next = kFirstBytes << std::min<std::size_t>(cut_up_.size(), kDoublings);
    cut_up_.push_back(std::make_unique<Arena>(std::max(next, size), *source_));
    mapped_ += cut_up_.back()->bytes();
    cut_ = 0;
  }
  Arena& arena = *cut_up_.back();
  const Region region{&arena, size_class, cut_, size, arena.base() + cut_};
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
  auto arena = std::make_unique<Arena>(bytes, *source_);
  const Region region{arena.get(), UINT32_MAX, 0, bytes, arena->base()};
  whole_.emplace(arena.get(), std::move(arena));
  mapped_ += bytes;
  return region;
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
    free_whole_bytes_ -= largest->first;
    mapped_ -= largest->first;
    whole_.erase(largest->second.arena);
    free_whole_.erase(largest);
  }
}

void ArenaPool::forsake(const Region& region) noexcept {
  const std::lock_guard lock(mutex_);
  if (region.size_class != UINT32_MAX) return;  // a few bytes of an arena that others use
  mapped_ -= region.bytes;
  whole_.erase(region.arena);  // the worker has a mapping of its own
}

std::uint64_t ArenaPool::mapped_bytes() const {
  const std::lock_guard lock(mutex_);
  return mapped_;
}

}  // namespace ml::client
