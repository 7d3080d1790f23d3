// One client of a worker: its tables, what it may still hold, and what it has used. The ring thread alone uses it, but
// for what can't change and for the counters, which any thread may read.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/runtime/handles.h"

namespace ml::runtime {

struct SessionLimits {
  std::uint32_t queues = 64;
  std::uint32_t arenas = 4096;
  std::uint32_t handles = 65536;
  std::uint32_t plans = 16;                         // of one program
  std::uint64_t device_bytes = ~std::uint64_t{0};   // behind handles
  std::uint64_t graph_bytes = 256u << 20;           // of one COMPILE, blobs not counted
  std::uint64_t scratch_bytes = ~std::uint64_t{0};  // of one plan
  std::uint32_t user = 0;                           // whose share of device time it uses: sessions of one user share it
  std::uint64_t number = 0;                         // by which others know the session
};

// Written by the ring thread, read by any.
class Counter {
 public:
  void add(std::uint64_t more) { value_.store(get() + more, std::memory_order_relaxed); }
  void subtract(std::uint64_t less) { value_.store(get() - less, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct Session {
  explicit Session(const SessionLimits& session_limits);
  ~Session();

  bool charge(std::uint64_t bytes) {
    if (bytes > limits.device_bytes - charged.get()) return false;
    charged.add(bytes);
    return true;
  }
  void discharge(std::uint64_t bytes) { charged.subtract(bytes); }

  const SessionLimits limits;
  HandleTable handles;
  ArenaTable arenas;
  std::vector<std::unique_ptr<Queue>> queues;
  std::function<void()> closed;  // while it is being closed: called at its end

  Counter charged;  // bytes behind handles
  Counter arena_bytes;
  Counter busy_ns;     // of executors
  Counter compile_ns;  // of compile threads
  Counter executions;  // that succeeded
  Counter failures;    // descriptors of any kind that failed by themselves: neither cancelled nor late
};

}  // namespace ml::runtime
