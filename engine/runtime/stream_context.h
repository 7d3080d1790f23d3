// One stream and what runs on it need: the scratch arena that all plans share, and room for their operands' addresses.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "engine/backends/backend.h"

namespace ml::runtime {

// Used by one thread at a time.
class StreamContext {
 public:
  explicit StreamContext(Device& device) : device_(device), stream_(device.create_stream()) {}
  ~StreamContext();
  StreamContext(const StreamContext&) = delete;
  StreamContext& operator=(const StreamContext&) = delete;

  Device& device() const { return device_; }
  Stream& stream() { return *stream_; }
  // Waits for everything enqueued so far.
  void synchronize();

  // The arena, at least `bytes` long. Growing waits for what still uses the old one; contents are not kept.
  BufferSpan scratch(std::size_t bytes);
  // Device memory for tensors on their way in and out, apart from the arena; the same rules.
  BufferSpan staging(std::size_t bytes);
  std::size_t scratch_size() const { return scratch_ ? scratch_->size() : 0; }

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
  BufferSpan at_least(std::unique_ptr<Buffer>& buffer, std::size_t bytes);

  Device& device_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Buffer> scratch_, staging_;
  std::deque<std::vector<BufferSpan>> frames_;
  std::size_t depth_ = 0;
};

}  // namespace ml::runtime
