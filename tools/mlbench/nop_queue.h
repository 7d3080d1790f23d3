// A queue that is sent nothing but NOPs, over either transport.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "engine/runtime/embedded.h"
#include "libmlclient/transport/client_ring.h"
#include "libmlclient/transport/ring_mapping.h"
#include "libmlclient/transport/transport.h"

namespace ml::bench {

class NopQueue {
 public:
  static constexpr std::uint32_t kDepth = 256;
  static constexpr std::size_t kBatch = 32;

  virtual ~NopQueue() = default;
  void round_trip(bool asleep);
  // Keeps the queue full of batches until so many NOPs are answered.
  void stream(std::size_t count);

 protected:
  virtual transport::ClientRing& ring() = 0;

 private:
  [[noreturn]] void lost();
  transport::Completion answer_{};
};

// On a worker of libmlengine.so: what an application that embeds the engine has. The worker's threads are on
// `worker_cpu`; the calling thread is left on `cpus`. park_us: how long the worker polls an idle ring.
class EmbeddedNopQueue final : public NopQueue {
 public:
  EmbeddedNopQueue(std::span<const int> cpus, int worker_cpu, std::uint32_t park_us);
  ~EmbeddedNopQueue() override;
  EmbeddedNopQueue(const EmbeddedNopQueue&) = delete;
  EmbeddedNopQueue& operator=(const EmbeddedNopQueue&) = delete;

 private:
  transport::ClientRing& ring() override { return *ring_; }

  mlengine_worker* worker_ = nullptr;
  mlengine_session* session_ = nullptr;
  mlengine_queue* queue_ = nullptr;
  std::optional<transport::RingMapping> mapping_;
  std::optional<transport::ClientRing> ring_;
};

// On a device of the daemon at `socket`; `kernel`: a queue of the kernel module's.
class DaemonNopQueue final : public NopQueue {
 public:
  DaemonNopQueue(const std::string& socket, const std::string& device, bool kernel = false);

 private:
  transport::ClientRing& ring() override { return transport_->ring(); }
  std::unique_ptr<transport::Transport> transport_;
};

}  // namespace ml::bench
