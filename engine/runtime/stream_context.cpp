#include "engine/runtime/stream_context.h"

#include <algorithm>

#include "engine/runtime/memory_planner.h"

namespace ml::runtime {

StreamContext::~StreamContext() { synchronize(); }

void StreamContext::synchronize() { stream_->record()->wait(); }

BufferSpan StreamContext::at_least(std::unique_ptr<Buffer>& buffer, std::size_t bytes) {
  const std::size_t wanted = align_memory(std::max<std::size_t>(bytes, 1));
  if (!buffer || buffer->size() < wanted) {
    if (buffer) synchronize();
    buffer.reset();
    buffer = device_.allocate(wanted);
  }
  return {buffer.get(), 0, bytes};
}

BufferSpan StreamContext::scratch(std::size_t bytes) { return at_least(scratch_, bytes); }
BufferSpan StreamContext::staging(std::size_t bytes) { return at_least(staging_, bytes); }

}  // namespace ml::runtime
