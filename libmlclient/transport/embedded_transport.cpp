// The worker on threads of this process, behind libmlengine.so.
#include "libmlclient/transport/engine_library.h"
#include "libmlclient/transport/ring_mapping.h"
#include "libmlclient/transport/transport.h"

namespace ml::transport {
namespace {

class EmbeddedTransport final : public Transport {
 public:
  explicit EmbeddedTransport(const SessionOptions& options) : device_(options.device.empty() ? "cpu" : options.device) {
    mlengine_worker_options worker_options{};
    worker_options.size = sizeof(worker_options);
    worker_options.threads = static_cast<std::uint32_t>(options.threads);
    worker_options.device = device_.c_str();
    engine_.check(engine_.worker_create(&worker_options, &worker_));
    try {
      engine_.check(engine_.session_create(worker_, nullptr, &session_));
      mlengine_queue_info info{};
      info.size = sizeof(info);
      engine_.check(engine_.queue_create(session_, options.depth, &queue_, &info));
      mapping_ = std::make_unique<RingMapping>(info.memory_fd, info.depth);
      ring_ = std::make_unique<ClientRing>(mapping_->pages(), info.doorbell_fd, info.wake_fd);
    } catch (...) {
      engine_.worker_destroy(worker_);
      throw;
    }
  }
  ~EmbeddedTransport() override {
    engine_.queue_destroy(queue_);
    engine_.session_destroy(session_);
    engine_.worker_destroy(worker_);
  }
  EmbeddedTransport(const EmbeddedTransport&) = delete;
  EmbeddedTransport& operator=(const EmbeddedTransport&) = delete;

  const std::string& name() const override {
    static const std::string embedded = "embedded";
    return embedded;
  }
  const std::string& device() const override { return device_; }
  std::string fingerprint() const override { return engine_.worker_fingerprint(worker_); }
  ClientRing& ring() override { return *ring_; }
  bool shares_memory() const override { return false; }
  std::shared_ptr<MemorySource> memory() override { return private_memory(); }
  std::uint32_t add_arena(void* base, std::uint64_t bytes, int) override {
    std::uint32_t arena = 0;
    engine_.check(engine_.arena_add(session_, base, bytes, &arena));
    return arena;
  }
  std::optional<std::uint32_t> add_file(std::span<const std::byte> file, std::shared_ptr<const void> mapping) override {
    const auto release = [](void* held) { delete static_cast<std::shared_ptr<const void>*>(held); };
    auto* const held = new std::shared_ptr<const void>(std::move(mapping));
    std::uint32_t arena = 0;
    engine_.check(engine_.file_add(session_, file.data(), file.size(), release, held, &arena));
    return arena;
  }
  void remove_arena(std::uint32_t arena) noexcept override { engine_.arena_remove(session_, arena); }

 private:
  const EngineLibrary& engine_ = EngineLibrary::instance();
  std::string device_;
  mlengine_worker* worker_ = nullptr;
  mlengine_session* session_ = nullptr;
  mlengine_queue* queue_ = nullptr;
  std::unique_ptr<RingMapping> mapping_;
  std::unique_ptr<ClientRing> ring_;
};

}  // namespace

std::unique_ptr<Transport> open_embedded(const SessionOptions& options) {
  return std::make_unique<EmbeddedTransport>(options);
}

}  // namespace ml::transport
