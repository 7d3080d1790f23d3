// Memory that can be looked into only while a task of the device has it open.
#pragma once

#include <mutex>
#include <vector>

#include "engine/backends/backend.h"

namespace ml::test {

class DelayedBuffer final : public Buffer {
 public:
  explicit DelayedBuffer(std::size_t size);
  ~DelayedBuffer() override;  // aborts when a task still wants it
  DelayedBuffer(const DelayedBuffer&) = delete;
  DelayedBuffer& operator=(const DelayedBuffer&) = delete;

 private:
  friend class Use;
  void promise();
  std::byte* open();
  void close();

  std::byte* memory_ = nullptr;
  std::size_t mapped_ = 0;
  std::mutex mutex_;
  int open_ = 0;      // tasks that are looking into it
  int promised_ = 0;  // tasks that will or do
};

// The spans of one task, from when it is enqueued until it has run.
class Use {
 public:
  explicit Use(std::vector<BufferSpan> spans);  // checks that they lie inside of their buffers
  ~Use();
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

  // The addresses, valid while this lives; null for an empty span. Once only.
  std::vector<std::byte*> open();

 private:
  std::vector<BufferSpan> spans_;
  bool opened_ = false;
};

}  // namespace ml::test
