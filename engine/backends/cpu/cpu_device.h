// The cpu device: host memory as it is, kernels that run on the calling thread and fan out over the process's pool.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>

#include "engine/backends/backend.h"
#include "engine/backends/pack_cache.h"
#include "engine/backends/thread_pool.h"

namespace ml::cpu {

class CpuBuffer : public Buffer {
 public:
  // Zeroed memory of its own, 64-byte aligned; throws out_of_memory.
  explicit CpuBuffer(std::size_t size);
  // Somebody else's memory.
  CpuBuffer(void* memory, std::size_t size) : Buffer(size), data_(static_cast<std::byte*>(memory)) {}
  ~CpuBuffer() override;
  CpuBuffer(const CpuBuffer&) = delete;
  CpuBuffer& operator=(const CpuBuffer&) = delete;

  std::byte* data() const { return data_; }

 private:
  enum class Owned { no, heap, pages };
  std::byte* data_ = nullptr;
  Owned owned_ = Owned::no;
};

inline std::byte* data_of(const BufferSpan& span) {
  return span.buffer == nullptr ? nullptr : static_cast<CpuBuffer*>(span.buffer)->data() + span.offset;
}
// Takes all pages of memory that is about to be written at once, instead of one fault after the other.
void take_pages(void* from, std::size_t bytes);

template <class T>
T* data_of(const BufferSpan& span) {
  return reinterpret_cast<T*>(data_of(span));
}

// Runs everything at once on the thread that enqueues it: a fence has always signalled.
class CpuStream final : public Stream {
 public:
  explicit CpuStream(std::shared_ptr<ThreadPool> pool);

  void upload(BufferSpan to, const void* from) override;
  void download(void* to, BufferSpan from) override;
  void copy(BufferSpan to, BufferSpan from) override;
  void fill_zero(BufferSpan to) override;
  std::shared_ptr<Fence> record() override { return done_; }
  void wait_for(const std::shared_ptr<Fence>& fence) override { fence->wait(); }
  bool take_index_error() override { return index_error_.exchange(false); }

  ThreadPool& pool() const { return *pool_; }
  // Any thread of a kernel may call.
  void set_index_error() { index_error_.store(true); }

 private:
  std::shared_ptr<ThreadPool> pool_;
  std::shared_ptr<Fence> done_;
  std::atomic<bool> index_error_{false};
};

inline CpuStream& cpu_stream(Stream& stream) { return static_cast<CpuStream&>(stream); }

// Operands of one launch.
using Spans = std::span<const BufferSpan>;

// A kernel that is one function of the launch's operands: run(stream, inputs, outputs, scratch).
template <class Run>
class FunctionKernel final : public Kernel {
 public:
  FunctionKernel(Run run, std::size_t scratch, ConstantUse first)
      : run_(std::move(run)), scratch_(scratch), first_(first) {}
  std::size_t scratch_bytes() const override { return scratch_; }
  ConstantUse constant_use(std::size_t input) const override { return input == 0 ? first_ : ConstantUse::aligned; }
  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan scratch) const override {
    run_(cpu_stream(stream), inputs, outputs, data_of(scratch));
  }

 private:
  Run run_;
  std::size_t scratch_;
  ConstantUse first_;  // of the first input
};
template <class Run>
std::unique_ptr<Kernel> make_kernel(Run run, std::size_t scratch = 0, ConstantUse first = ConstantUse::aligned) {
  return std::make_unique<FunctionKernel<Run>>(std::move(run), scratch, first);
}

// The rows of the cpu's table, family by family; within an op the order is that of preference.
std::span<const Implementation> loop_implementations();
std::span<const Implementation> few_rows_matmul_implementations();
std::span<const Implementation> panel_matmul_implementations();
std::span<const Implementation> winograd_convolution_implementations();
std::span<const Implementation> panel_convolution_implementations();
std::span<const Implementation> depthwise_convolution_implementations();
std::span<const Implementation> expanded_depthwise_implementations();
std::span<const Implementation> dnnl_matmul_implementations();
std::span<const Implementation> loop_matmul_implementations();
std::span<const Implementation> dnnl_convolution_implementations();
std::span<const Implementation> direct_convolution_implementations();
std::span<const Implementation> movement_implementations();
std::span<const Implementation> axis_implementations();
std::span<const Implementation> indexing_implementations();
std::span<const Implementation> random_implementations();
std::span<const Implementation> pooling_implementations();
std::span<const Implementation> detection_implementations();
std::span<const Implementation> attention_implementations();
std::span<const Implementation> recurrent_implementations();

}  // namespace ml::cpu
