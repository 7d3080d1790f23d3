// What a device is to the runtime. One implementation per backend: reference, cpu, later cuda, opencl, vulkan.
//
// Nothing here assumes that the host can see device memory or that a launched kernel has run: bytes move by copies on a
// stream, and a result exists when a fence recorded behind it has signalled. A unified device says so in its traits and
// may then be given host memory directly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/graph.h"

namespace ml {

// A run of device memory. What stands behind it is the backend's own.
class Buffer {
 public:
  virtual ~Buffer() = default;
  std::size_t size() const { return size_; }

 protected:
  explicit Buffer(std::size_t size) : size_(size) {}

 private:
  std::size_t size_;
};

struct BufferSpan {
  Buffer* buffer = nullptr;
  std::size_t offset = 0;
  std::size_t size = 0;
};

// Signals once everything enqueued on its stream before it has happened.
class Fence {
 public:
  virtual ~Fence() = default;
  virtual bool done() const = 0;
  virtual void wait() const = 0;
};

// Work in order. Calls enqueue and return; different streams are not ordered, except through wait_for.
class Stream {
 public:
  virtual ~Stream() = default;
  // Host memory must stay valid and unchanged (upload) or unread (download) until a later fence has signalled.
  virtual void upload(BufferSpan to, const void* from) = 0;
  virtual void download(void* to, BufferSpan from) = 0;
  virtual void copy(BufferSpan to, BufferSpan from) = 0;  // equal sizes, not overlapping
  virtual void fill_zero(BufferSpan to) = 0;
  virtual std::shared_ptr<Fence> record() = 0;
  virtual void wait_for(const std::shared_ptr<Fence>& fence) = 0;
  // True when an index was out of range in a kernel that has run since the last call. Call behind a fence.
  virtual bool take_index_error() = 0;
};

// How a value lies in memory: element strides per dimension of its logical shape. Row-major unless the plan chose
// otherwise.
struct Layout {
  std::vector<std::int64_t> strides;
  friend bool operator==(const Layout&, const Layout&) = default;
};
Layout row_major(const Shape& shape);
// Dense with the dimensions in `order`, outermost first: {0, 2, 3, 1} is NHWC for a logical NCHW.
Layout permuted(const Shape& shape, std::span<const int> order);

struct Operand {
  TensorType type;
  Layout layout;
  const ConstantData* constant = nullptr;  // inputs only: its value, when it never changes; kernels may pack it
  bool used = true;                        // outputs only: false when nobody reads it
};

// One node to be run, with concrete shapes and the layouts the plan chose.
struct KernelRequest {
  const Op& op;
  const AttributesPtr& attributes;
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;

  template <class T>
  const T& as() const {
    return static_cast<const T&>(*attributes);
  }
};

// What a launch wants of an input that is a constant: nothing when it was packed at compile time, its bytes at any
// alignment, or its bytes aligned to 16.
enum class ConstantUse { packed, bytes, aligned };

// A kernel compiled for one request; immutable, used by many streams at once.
class Kernel {
 public:
  virtual ~Kernel() = default;
  // Bytes of scratch that a launch needs, 64-byte aligned.
  virtual std::size_t scratch_bytes() const { return 0; }
  // True when the output may be the input's buffer (same offset and bytes).
  virtual bool in_place(std::size_t input, std::size_t output) const {
    (void)input, (void)output;
    return false;
  }
  // Asked of inputs that are constants in the request.
  virtual ConstantUse constant_use(std::size_t input) const {
    (void)input;
    return ConstantUse::aligned;
  }
  // Enqueues. Spans of packed constants and of unused outputs may be empty.
  virtual void launch(Stream& stream, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
                      BufferSpan scratch) const = 0;
};

// Packed constants of one loaded program: made once by the first kernel that wants them, shared by all plans.
class PackCache;

// One row of a backend's table. Rows are tried in order, the first that accepts wins.
struct Implementation {
  std::string_view op;      // the op's name
  std::string_view kernel;  // named in plans and fingerprints: "dnnl_convolution"
  // Null when the kernel takes the request, otherwise one of the phrases below.
  const char* (*refuse)(const KernelRequest& request);
  std::unique_ptr<Kernel> (*compile)(const KernelRequest& request, PackCache& packs);
  // The layouts it would like, operand by operand, of a request that it takes or refuses as kLayout; null: row-major.
  void (*prefer)(const KernelRequest& request, std::vector<Layout>& inputs, std::vector<Layout>& outputs) = nullptr;
};
// Why a row refuses. Fixed phrases, so that logs can be searched.
namespace refusal {
inline constexpr char kDType[] = "dtype not implemented";
inline constexpr char kRank[] = "rank not implemented";
inline constexpr char kLayout[] = "layout not implemented";
inline constexpr char kAttribute[] = "attribute not implemented";
inline constexpr char kSize[] = "size not implemented";
inline constexpr char kOperand[] = "only for a constant operand";
}  // namespace refusal

struct DeviceTraits {
  bool unified = false;  // host memory can be wrapped as a Buffer
  int threads = 1;       // how wide the device runs one kernel: part of a plan's fingerprint
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view name() const = 0;  // "reference", "cpu"
  virtual const DeviceTraits& traits() const = 0;
  virtual std::string fingerprint() const = 0;                      // ISA, library versions, threads
  virtual std::unique_ptr<Buffer> allocate(std::size_t bytes) = 0;  // zeroed, 64-byte aligned; throws out_of_memory
  virtual std::unique_ptr<Buffer> wrap(void* memory, std::size_t bytes) = 0;  // unified devices only
  virtual std::unique_ptr<Stream> create_stream() = 0;
  virtual std::span<const Implementation> implementations() const = 0;
  // Says that all of a buffer will be written soon, which may make that cheaper.
  virtual void take_pages(Buffer& /*buffer*/) {}
  // What executors call while nothing waits: a little work, mostly less than a millisecond, that makes later runs
  // faster. False: there was nothing to do.
  virtual bool work_while_idle() { return false; }
};

// The first row that takes the request. Throws unsupported with op, dtypes, shapes and each row's phrase when none
// does.
const Implementation& choose(const Device& device, const KernelRequest& request);
// Whether any row takes it: what the decompose pass asks.
bool implements(const Device& device, const KernelRequest& request);

std::unique_ptr<Device> create_reference_device();
std::unique_ptr<Device> create_cpu_device(int threads);

}  // namespace ml
