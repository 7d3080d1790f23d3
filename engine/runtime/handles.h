// What the handles and arena numbers of a session stand for. The ring thread alone uses these tables; what they give
// away (shared pointers, arenas with a use counted) stays valid until it is given back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/backends/backend.h"
#include "engine/runtime/program.h"
#include "kernel/uapi/mlaccel_ring.h"

namespace ml::runtime {

class Queue;

// Device memory behind a handle.
struct Memory {
  std::unique_ptr<Buffer> buffer;
  std::uint64_t bytes;
};

// One of the first three is set.
struct Object {
  std::shared_ptr<Memory> memory;
  std::shared_ptr<Program> program;
  Queue* queue = nullptr;
  std::uint64_t charged = 0;  // bytes that the session pays for it
};

class HandleTable {
 public:
  explicit HandleTable(std::uint32_t limit) : limit_(limit) {}

  // Nothing when the table is full.
  std::optional<mlring_handle> add(Object object);
  // Null when there is no such handle, or no longer.
  const Object* find(mlring_handle handle) const;
  // The handle is refused from now on; its number is used again after recycle().
  Object retire(mlring_handle handle);
  void recycle(std::uint32_t index);

 private:
  struct Entry {
    std::uint32_t generation = 0;  // of the handle that is valid now; even while there is none
    Object object;
  };

  std::uint32_t limit_;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_;
};

// Client memory that descriptors name.
struct Arena {
  Arena(void* memory, std::uint64_t size) : base(static_cast<std::byte*>(memory)), bytes(size) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::byte* base;
  std::uint64_t bytes;
  std::unique_ptr<Buffer> buffer;  // on unified devices
  std::uint32_t uses = 0;          // by descriptors in flight: while it isn't 0 the memory stays mapped
  bool owns_mapping = false;       // unmapped with it
  // Set: a mapped file that nobody writes, which stays mapped as long as somebody holds this.
  std::shared_ptr<const void> file;
  bool removed = false;  // it belongs to its uses: the last one frees it
};

class ArenaTable {
 public:
  explicit ArenaTable(std::uint32_t limit) : limit_(limit) {}

  // Its number, from 1; nothing when the table is full.
  std::optional<std::uint32_t> add(std::unique_ptr<Arena> arena);
  // Null when there is no such arena, or no longer.
  Arena* find(std::uint32_t number);
  // Takes it out of the table, so that nothing new can name it.
  std::unique_ptr<Arena> remove(std::uint32_t number);

 private:
  std::uint32_t limit_;
  std::vector<std::unique_ptr<Arena>> arenas_;
};

}  // namespace ml::runtime
