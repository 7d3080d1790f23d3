// Memory that the worker can name: shared mappings cut into regions of size classes, which are used again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "libmlclient/transport/transport.h"

namespace ml::client {

// 64-byte aligned bytes of one arena.
struct Region {
  std::uint32_t arena = 0;  // 0: none
  std::uint32_t size_class = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;  // of the class
  std::byte* host = nullptr;
};

// Safe from several threads. Mappings are not inherited by a forked child.
class ArenaPool {
 public:
  explicit ArenaPool(transport::Transport& transport) : transport_(transport) {}
  ~ArenaPool();
  ArenaPool(const ArenaPool&) = delete;
  ArenaPool& operator=(const ArenaPool&) = delete;

  // At least that many bytes (64 for none), their content undefined. Throws out_of_memory. Does not allocate on the
  // heap or call the system when a region of the class is free.
  Region allocate(std::uint64_t bytes);
  void release(const Region& region) noexcept;
  std::uint64_t mapped_bytes() const;

 private:
  struct Arena {
    std::byte* base = nullptr;
    std::uint64_t bytes = 0;
    std::uint32_t id = 0;
  };
  Arena map(std::uint64_t bytes);
  void unmap(const Arena& arena) noexcept;
  Region allocate_whole(std::uint64_t bytes);
  void trim();

  transport::Transport& transport_;
  mutable std::mutex mutex_;
  std::vector<Arena> shared_;  // cut into regions; the last one is being cut
  std::uint64_t cut_ = 0;      // bytes of it that are
  std::vector<std::vector<Region>> free_;
  // Regions too large to be cut have an arena each; free ones wait here, by size, up to a limit.
  std::map<std::uint32_t, Arena> whole_;
  std::multimap<std::uint64_t, Region> free_whole_;
  std::uint64_t free_whole_bytes_ = 0;
  std::uint64_t mapped_ = 0;
};

}  // namespace ml::client
