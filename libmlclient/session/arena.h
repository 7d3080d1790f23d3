// Memory that the worker can name: shared mappings cut into regions of size classes, which are used again. It belongs
// to this process: a worker that ends takes nothing of it along, and its successor is given it again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "libmlclient/transport/memory_source.h"

namespace ml::client {

class Connection;

// One mapping. A connection's worker is given it when a descriptor of that connection first names it.
class Arena {
 public:
  // Throws out_of_memory or no_space.
  Arena(std::uint64_t bytes, transport::MemorySource& source);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::byte* base() const { return static_cast<std::byte*>(memory_.base); }
  std::uint64_t bytes() const { return bytes_; }
  // What descriptors of this connection name it by. Throws what the worker, or mld, says about it.
  std::uint32_t id_in(Connection& connection);

 private:
  std::uint32_t give_to(Connection& connection);

  transport::HostMemory memory_;
  std::uint64_t bytes_;
  std::atomic<std::uint64_t> known_{0};  // generation of the connection << 32 | id
  std::mutex giving_;
  std::weak_ptr<Connection> given_to_;
};

// 64-byte aligned bytes of one arena.
struct Region {
  Arena* arena = nullptr;  // null: none
  std::uint32_t size_class = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;  // of the class
  std::byte* host = nullptr;
};

// Safe from several threads. Mappings are not inherited by a forked child.
class ArenaPool {
 public:
  explicit ArenaPool(std::shared_ptr<transport::MemorySource> source) : source_(std::move(source)) {}
  ArenaPool(const ArenaPool&) = delete;
  ArenaPool& operator=(const ArenaPool&) = delete;

  // New arenas come from there from now on.
  void use(std::shared_ptr<transport::MemorySource> source);
  // At least that many bytes (64 for none), their content undefined. Throws out_of_memory. Does not allocate on the
  // heap or call the system when a region of the class is free.
  Region allocate(std::uint64_t bytes);
  void release(const Region& region) noexcept;
  // Lets go of a region that a lost worker may still write to: nobody gets it again.
  void forsake(const Region& region) noexcept;
  std::uint64_t mapped_bytes() const;

 private:
  Region allocate_whole(std::uint64_t bytes);
  void trim();

  mutable std::mutex mutex_;
  std::shared_ptr<transport::MemorySource> source_;
  std::vector<std::unique_ptr<Arena>> cut_up_;  // cut into regions; the last one is being cut
  std::uint64_t cut_ = 0;                       // bytes of it that are
  std::vector<std::vector<Region>> free_;
  // Regions too large to be cut have an arena each; free ones wait here, by size, up to a limit.
  std::map<Arena*, std::unique_ptr<Arena>> whole_;
  std::multimap<std::uint64_t, Region> free_whole_;
  std::uint64_t free_whole_bytes_ = 0;
  std::uint64_t mapped_ = 0;
};

}  // namespace ml::client
