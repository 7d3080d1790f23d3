// One stream and what runs on it need: the scratch arena that all plans share, and room for their operands' addresses.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "engine/backends/backend.h"
#include "engine/runtime/memory_budget.h"
#include "engine/runtime/preemption.h"

namespace ml::runtime {

// Used by one thread at a time.
class StreamContext {
 public:
  // Both may be null: who asks plans to stand still between their steps, and what its memory is counted in.
  explicit StreamContext(Device& device, PreemptionGate* gate = nullptr,
                         const std::shared_ptr<MemoryBudget>& memory = nullptr)
      : device_(device), gate_(gate), stream_(device.create_stream()), scratch_(memory), staging_(memory) {}
  ~StreamContext();
  StreamContext(const StreamContext&) = delete;
  StreamContext& operator=(const StreamContext&) = delete;

  Device& device() const { return device_; }
  Stream& stream() { return *stream_; }
  // Waits for everything enqueued so far.
  void synchronize();

  // Before each step of a plan: stands still while somebody demands it.
  void give_way() {
    if (gate_ != nullptr) pass_gate();
  }
  // Before the first one: none is under way.
  void begin_execution() { passer_.step_began = 0; }

  // The arena, at least `bytes` long. Growing waits for what still uses the old one; contents are not kept. Throws
  // no_space when the budget has no room.
  BufferSpan scratch(std::size_t bytes);
  // Device memory for tensors on their way in and out, apart from the arena; the same rules.
  BufferSpan staging(std::size_t bytes);
  std::size_t scratch_size() const { return scratch_.buffer ? scratch_.buffer->size() : 0; }

  // A frame of operand addresses; frames nest as plans do, and keep their capacity.
  class Frame {
   public:
    Frame(StreamContext& context, std::size_t count) : context_(context) {
      if (context_.depth_ == context_.frames_.size()) context_.frames_.emplace_back();
      spans_ = &context_.frames_[context_.depth_++];
      spans_->assign(count, BufferSpan{});
    }
    ~Frame() { --context_.depth_; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    std::span<BufferSpan> spans() { return *spans_; }

   private:
    StreamContext& context_;
    std::vector<BufferSpan>* spans_;
  };

 private:
  struct Arena {
    explicit Arena(const std::shared_ptr<MemoryBudget>& memory) : share(memory, MemoryBudget::Purpose::scratch) {}
    MemoryShare share;
    std::unique_ptr<Buffer> buffer;
  };
  BufferSpan at_least(Arena& arena, std::size_t bytes);
  void pass_gate();

  Device& device_;
  PreemptionGate* gate_;
  PreemptionGate::Passer passer_;
  std::unique_ptr<Stream> stream_;
  Arena scratch_, staging_;
  std::deque<std::vector<BufferSpan>> frames_;
  std::size_t depth_ = 0;
};

}  // namespace ml::runtime
