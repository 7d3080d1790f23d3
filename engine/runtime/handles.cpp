#include "engine/runtime/handles.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

namespace ml::runtime {

std::optional<mlring_handle> HandleTable::add(Object object) {
  std::uint32_t index = 0;
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else if (entries_.size() < limit_) {
    index = static_cast<std::uint32_t>(entries_.size());
    entries_.emplace_back();
    free_.reserve(entries_.capacity());
  } else {
    return std::nullopt;
  }
  Entry& entry = entries_[index];
  ++entry.generation;  // odd: valid; never 0
  entry.object = std::move(object);
  return mlring_handle{index, entry.generation};
}

const Object* HandleTable::find(mlring_handle handle) const {
  if (handle.index >= entries_.size() || handle.generation % 2 == 0) return nullptr;
  const Entry& entry = entries_[handle.index];
  return entry.generation == handle.generation ? &entry.object : nullptr;
}

Object HandleTable::retire(mlring_handle handle) {
  Entry& entry = entries_[handle.index];
  ++entry.generation;
  return std::exchange(entry.object, {});
}

Arena::~Arena() {
  buffer.reset();
  if (owns_mapping) munmap(base, bytes);
}

void HandleTable::recycle(std::uint32_t index) { free_.push_back(index); }

std::optional<std::uint32_t> ArenaTable::add(std::unique_ptr<Arena> arena) {
  auto free = std::ranges::find_if(arenas_, [](const std::unique_ptr<Arena>& entry) { return entry == nullptr; });
  if (free == arenas_.end()) {
    if (arenas_.size() >= limit_) return std::nullopt;
    free = arenas_.emplace(arenas_.end());
  }
  *free = std::move(arena);
  return static_cast<std::uint32_t>(free - arenas_.begin()) + 1;
}

Arena* ArenaTable::find(std::uint32_t number) {
  return number == 0 || number > arenas_.size() ? nullptr : arenas_[number - 1].get();
}

std::unique_ptr<Arena> ArenaTable::remove(std::uint32_t number) {
  return find(number) == nullptr ? nullptr : std::move(arenas_[number - 1]);
}

}  // namespace ml::runtime
