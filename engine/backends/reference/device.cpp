// The reference device: host memory, and streams that have done everything by the time a call returns.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "engine/backends/reference/kernel.h"
#include "ml/error.h"

namespace ml::reference {
namespace {

class HostBuffer final : public Buffer {
 public:
  HostBuffer(std::byte* data, std::size_t size, bool owned) : Buffer(size), data_(data), owned_(owned) {}
  ~HostBuffer() override {
    if (owned_) std::free(data_);
  }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  std::byte* data() const { return data_; }

 private:
  std::byte* data_;
  bool owned_;
};

std::byte* at(const BufferSpan& span) {
  return span.buffer ? static_cast<HostBuffer*>(span.buffer)->data() + span.offset : nullptr;
}
std::vector<std::byte*> addresses(std::span<const BufferSpan> spans) {
  std::vector<std::byte*> result;
  for (const BufferSpan& span : spans) result.push_back(at(span));
  return result;
}

class PastFence final : public Fence {
 public:
  bool done() const override { return true; }
  void wait() const override {}
};

class HostStream final : public Stream {
 public:
  void upload(BufferSpan to, const void* from) override {
    if (to.size > 0) std::memcpy(at(to), from, to.size);
  }
  void download(void* to, BufferSpan from) override {
    if (from.size > 0) std::memcpy(to, at(from), from.size);
  }
  void copy(BufferSpan to, BufferSpan from) override {
    if (to.size > 0) std::memcpy(at(to), at(from), to.size);
  }
  void fill_zero(BufferSpan to) override {
    if (to.size > 0) std::memset(at(to), 0, to.size);
  }
  std::shared_ptr<Fence> record() override { return std::make_shared<PastFence>(); }
  void wait_for(const std::shared_ptr<Fence>& fence) override { fence->wait(); }
  bool take_index_error() override { return std::exchange(index_error_, false); }

  void run(const Program& program, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs) {
    if (program.run(addresses(inputs), addresses(outputs))) index_error_ = true;
  }

 private:
  bool index_error_ = false;
};

class HostKernel final : public Kernel {
 public:
  explicit HostKernel(const KernelRequest& request) : program_(request) {}
  bool in_place(std::size_t input, std::size_t output) const override { return program_.in_place(input, output); }
  void launch(Stream& stream, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
              BufferSpan) const override {
    static_cast<HostStream&>(stream).run(program_, inputs, outputs);
  }

 private:
  Program program_;
};

std::vector<Implementation> make_table() {
  std::vector<Implementation> table;
  for (const Row& row : rows()) {
    table.push_back({.op = row.op,
                     .kernel = "reference",
                     .refuse = nullptr,
                     .compile = [](const KernelRequest& request, PackCache&) -> std::unique_ptr<Kernel> {
                       return std::make_unique<HostKernel>(request);
                     }});
  }
  return table;
}

class ReferenceDevice final : public Device {
 public:
  std::string_view name() const override { return "reference"; }
  const DeviceTraits& traits() const override { return traits_; }
  std::string fingerprint() const override { return "reference 1"; }

  std::unique_ptr<Buffer> allocate(std::size_t bytes) override {
    constexpr std::size_t kAlignment = 64;
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* memory = rounded < bytes ? nullptr : std::aligned_alloc(kAlignment, std::max(rounded, kAlignment));
    if (!memory) throw Error(Code::out_of_memory, "reference: no " + std::to_string(bytes) + " bytes of host memory");
    std::memset(memory, 0, bytes);
    return std::make_unique<HostBuffer>(static_cast<std::byte*>(memory), bytes, true);
  }
  std::unique_ptr<Buffer> wrap(void* memory, std::size_t bytes) override {
    return std::make_unique<HostBuffer>(static_cast<std::byte*>(memory), bytes, false);
  }
  std::unique_ptr<Stream> create_stream() override { return std::make_unique<HostStream>(); }
  std::span<const Implementation> implementations() const override {
    static const std::vector<Implementation> table = make_table();
    return table;
  }

 private:
  DeviceTraits traits_{.unified = true, .threads = 1};
};

}  // namespace
}  // namespace ml::reference

namespace ml {

std::unique_ptr<Device> create_reference_device() { return std::make_unique<reference::ReferenceDevice>(); }

}  // namespace ml
