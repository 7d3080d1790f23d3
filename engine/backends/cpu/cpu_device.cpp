#include "engine/backends/cpu/cpu_device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "engine/backends/cpu/dnnl_support.h"
#include "engine/backends/cpu/loop_tiles.h"
#include "engine/backends/cpu/packed_buffer.h"
#include "ml/error.h"

namespace ml {
namespace cpu {
namespace {

// From here on memory comes as pages, zero without being touched.
constexpr std::size_t kPages = 1u << 20;
constexpr std::size_t kHugePage = 2u << 20;

// Null when there is none. Begins where a huge page may, which the system sees to for whole ones only; the end is no
// larger than it has to be.
void* map_pages(std::size_t size) {
  const std::size_t spare = size < kHugePage ? 0 : kHugePage;
  void* const mapped = mmap(nullptr, size + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* const first = static_cast<std::byte*>(mapped);
  if (spare == 0) return first;
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(first) % kHugePage;
  std::byte* const begin = first + before;
  const std::size_t whole = (size + page - 1) / page * page;
  if (before != 0) munmap(first, before);
  if (before + whole < size + spare) munmap(begin + whole, size + spare - before - whole);
  return begin;
}

class DoneFence final : public Fence {
 public:
  bool done() const override { return true; }
  void wait() const override {}
};

// One line a file, so that additions merge.
// clang-format off
using Family = std::span<const Implementation> (*)();
constexpr Family kFamilies[] = {
    loop_implementations,
    few_rows_matmul_implementations,
    panel_matmul_implementations,
    dnnl_matmul_implementations,
    loop_matmul_implementations,
    winograd_convolution_implementations,
    panel_convolution_implementations,
    depthwise_convolution_implementations,
    expanded_depthwise_implementations,
    dnnl_convolution_implementations,
    direct_convolution_implementations,
    movement_implementations,
    axis_implementations,
    indexing_implementations,
    random_implementations,
    pooling_implementations,
    detection_implementations,
    attention_implementations,
    recurrent_implementations,
};
// clang-format on

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int threads) : pool_(ThreadPool::of_process(threads)) {
    // Highway chooses at its first call: the functions that kernels point to must be the chosen ones.
    instruction_set();
    traits_.unified = true;
    traits_.threads = pool_->threads();
    for (const Family family : kFamilies) {
      table_.insert(table_.end(), family().begin(), family().end());
    }
  }

  std::string_view name() const override { return "cpu"; }
  const DeviceTraits& traits() const override { return traits_; }
  std::string fingerprint() const override {
    return std::string("cpu isa=") + instruction_set() + " threads=" + std::to_string(traits_.threads) + " " +
           dnnl_fingerprint();
  }
  std::unique_ptr<Buffer> allocate(std::size_t bytes) override { return std::make_unique<CpuBuffer>(bytes); }
  std::unique_ptr<Buffer> wrap(void* memory, std::size_t bytes) override {
    return std::make_unique<CpuBuffer>(memory, bytes);
  }
  std::unique_ptr<Stream> create_stream() override { return std::make_unique<CpuStream>(pool_); }
  std::span<const Implementation> implementations() const override { return table_; }
  void take_pages(Buffer& buffer) override { cpu::take_pages(static_cast<CpuBuffer&>(buffer).data(), buffer.size()); }
  bool work_while_idle() override { return move_to_huge_page(); }

 private:
  std::shared_ptr<ThreadPool> pool_;
  DeviceTraits traits_;
  std::vector<Implementation> table_;
};

}  // namespace

CpuBuffer::CpuBuffer(std::size_t size) : Buffer(size) {
  if (size >= kPages) {
    data_ = static_cast<std::byte*>(map_pages(size));
    if (data_ != nullptr) {
      owned_ = Owned::pages;
      return;
    }
  } else {
    const std::size_t rounded = (size + 63) / 64 * 64 + (size == 0 ? 64 : 0);
    data_ = static_cast<std::byte*>(std::aligned_alloc(64, rounded));
    if (data_ != nullptr) {
      std::memset(data_, 0, rounded);
      owned_ = Owned::heap;
      return;
    }
  }
  throw Error(Code::out_of_memory, "cpu: no memory for a buffer of " + std::to_string(size) + " bytes");
}

CpuBuffer::~CpuBuffer() {
  if (owned_ == Owned::heap) std::free(data_);
  if (owned_ == Owned::pages) munmap(data_, size());
}

void take_pages(void* from, std::size_t bytes) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(from) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(from) + bytes) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_WRITE);  // or they come as faults
}

CpuStream::CpuStream(std::shared_ptr<ThreadPool> pool) : pool_(std::move(pool)), done_(std::make_shared<DoneFence>()) {}

void CpuStream::upload(BufferSpan to, const void* from) {
  if (to.size > 0) std::memcpy(data_of(to), from, to.size);
}
void CpuStream::download(void* to, BufferSpan from) {
  if (from.size > 0) std::memcpy(to, data_of(from), from.size);
}
void CpuStream::copy(BufferSpan to, BufferSpan from) {
  if (to.size > 0) std::memcpy(data_of(to), data_of(from), to.size);
}
void CpuStream::fill_zero(BufferSpan to) {
  if (to.size > 0) std::memset(data_of(to), 0, to.size);
}

}  // namespace cpu

std::unique_ptr<Device> create_cpu_device(int threads) { return std::make_unique<cpu::CpuDevice>(threads); }

}  // namespace ml
