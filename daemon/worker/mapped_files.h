// The memory of clients and files of models, as a worker process maps them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace ml::daemon {

// Maps a client's memfd of exactly `bytes`, to read and to write. It must be sealed so that it can't shrink under the
// mapping, and be of ordinary pages. Throws invalid_argument or io.
void* map_arena(int file, std::uint64_t bytes);

// Memory of mld's that several processes write, mapped for as long as the process lives. Throws invalid_argument when
// it is smaller than `bytes`, or io.
void* map_shared(int file, std::uint64_t bytes);

// A file of mld's that nobody changes, mapped read-only.
class MappedModel {
 public:
  // Throws invalid_argument when it hasn't `bytes` bytes, io when the system refuses.
  MappedModel(int file, std::uint64_t bytes);
  ~MappedModel();
  MappedModel(const MappedModel&) = delete;
  MappedModel& operator=(const MappedModel&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace ml::daemon
