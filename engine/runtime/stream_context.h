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
      : device_(device), gate_(gate), memory_(memory), stream_(device.create_stream()), staging_(memory) {}
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

  // The arena of this level, at least `bytes` long. Growing waits for what still uses the old one; contents are not
  // kept. Throws no_space when the budget has no room.
  BufferSpan scratch(std::size_t bytes);
  // What a stage of a plan hands over to those behind it, apart from their arenas; the same rules.
  BufferSpan handed_over(std::size_t bytes);
  // Device memory for tensors on their way in and out, apart from the arena; the same rules.
  BufferSpan staging(std::size_t bytes);
  std::size_t scratch_size() const { return levels_.empty() ? 0 : levels_.front().scratch.size(); }

  // While it lives, arenas are those of a later stage.
  class Level {
   public:
    explicit Level(StreamContext& context) : context_(context), depth_(++context.level_) {}
    ~Level() { --context_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    std::size_t depth() const { return depth_; }

   private:
    StreamContext& context_;
    std::size_t depth_;
  };

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
    std::size_t size() const { return buffer ? buffer->size() : 0; }
    MemoryShare share;
    std::unique_ptr<Buffer> buffer;
  };
  struct Arenas {
    explicit Arenas(const std::shared_ptr<MemoryBudget>& memory) : scratch(memory), handed_over(memory) {}
    Arena scratch, handed_over;
  };
  BufferSpan at_least(Arena& arena, std::size_t bytes);
  Arenas& arenas();
  void pass_gate();

  Device& device_;
  PreemptionGate* gate_;
  PreemptionGate::Passer passer_;
  std::shared_ptr<MemoryBudget> memory_;
  std::unique_ptr<Stream> stream_;
  std::deque<Arenas> levels_;
  std::size_t level_ = 0;
  Arena staging_;
  std::deque<std::vector<BufferSpan>> frames_;
  std::size_t depth_ = 0;
};

}  // namespace ml::runtime
