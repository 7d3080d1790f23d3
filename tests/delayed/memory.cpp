#include "tests/delayed/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "ml/error.h"

namespace ml::test {
namespace {

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "delayed device: %s\n", what);
  std::abort();
}

void protect(std::byte* memory, std::size_t size, int protection) {
  if (mprotect(memory, size, protection) != 0) give_up("mprotect failed");
}

}  // namespace

DelayedBuffer::DelayedBuffer(std::size_t size) : Buffer(size) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  mapped_ = (size / page + 1) * page;
  void* memory = mapped_ < size ? MAP_FAILED : mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw Error(Code::out_of_memory, "delayed: no " + std::to_string(size) + " bytes");
  memory_ = static_cast<std::byte*>(memory);
}

DelayedBuffer::~DelayedBuffer() {
  if (promised_ != 0) give_up("a buffer was freed while work that uses it had not run");
  munmap(memory_, mapped_);
}

void DelayedBuffer::promise() {
  const std::lock_guard lock(mutex_);
  ++promised_;
}

std::byte* DelayedBuffer::open() {
  const std::lock_guard lock(mutex_);
  if (open_++ == 0) protect(memory_, mapped_, PROT_READ | PROT_WRITE);
  return memory_;
}

void DelayedBuffer::close() {
  const std::lock_guard lock(mutex_);
  if (--open_ == 0) protect(memory_, mapped_, PROT_NONE);
}

Use::Use(std::vector<BufferSpan> spans) : spans_(std::move(spans)) {
  for (const BufferSpan& span : spans_) {
    if (!span.buffer) continue;
    if (span.size > span.buffer->size() || span.offset > span.buffer->size() - span.size)
      give_up("a span lies outside of its buffer");
  }
  for (const BufferSpan& span : spans_) {
    if (span.buffer) static_cast<DelayedBuffer*>(span.buffer)->promise();
  }
}

Use::~Use() {
  for (const BufferSpan& span : spans_) {
    if (!span.buffer) continue;
    auto* const buffer = static_cast<DelayedBuffer*>(span.buffer);
    if (opened_) buffer->close();
    const std::lock_guard lock(buffer->mutex_);
    --buffer->promised_;
  }
}

std::vector<std::byte*> Use::open() {
  opened_ = true;
  std::vector<std::byte*> addresses;
  for (const BufferSpan& span : spans_) {
    addresses.push_back(span.buffer ? static_cast<DelayedBuffer*>(span.buffer)->open() + span.offset : nullptr);
  }
  return addresses;
}

}  // namespace ml::test
