#include "engine/runtime/stream_context.h"

#include <algorithm>

#include "engine/runtime/clock.h"
#include "engine/runtime/memory_planner.h"

namespace ml::runtime {

StreamContext::~StreamContext() { synchronize(); }

void StreamContext::synchronize() { stream_->record()->wait(); }

void StreamContext::pass_gate() {
  const std::uint64_t now = monotonic_now();
  if (!gate_->demanded(passer_, now)) {
    passer_.step_began = now;
    return;
  }
  synchronize();
  gate_->hold(passer_);
  passer_.step_began = monotonic_now();
}

BufferSpan StreamContext::at_least(Arena& arena, std::size_t bytes) {
  const std::size_t wanted = align_memory(std::max<std::size_t>(bytes, 1));
  if (!arena.buffer || arena.buffer->size() < wanted) {
    if (arena.buffer) synchronize();
    arena.buffer.reset();
    arena.share.shrink_to(0);
    arena.share.grow_to(wanted);
    arena.buffer = device_.allocate(wanted);
    device_.take_pages(*arena.buffer);
  }
  return {arena.buffer.get(), 0, bytes};
}

StreamContext::Arenas& StreamContext::arenas() {
  while (levels_.size() <= level_) levels_.emplace_back(memory_);
  return levels_[level_];
}

BufferSpan StreamContext::scratch(std::size_t bytes) { return at_least(arenas().scratch, bytes); }
BufferSpan StreamContext::handed_over(std::size_t bytes) { return at_least(arenas().handed_over, bytes); }
BufferSpan StreamContext::staging(std::size_t bytes) { return at_least(staging_, bytes); }

}  // namespace ml::runtime
