// One client of a worker: its tables, what it may still hold, and what it has used. The ring thread alone uses it, but
// for what can't change and for the counters, which any thread may read.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/runtime/device_ledger.h"
#include "engine/runtime/handles.h"
#include "engine/runtime/memory_budget.h"

namespace ml::runtime {

struct SessionLimits {
  std::uint32_t queues = 64;
  std::uint32_t arenas = 4096;
  std::uint32_t handles = 65536;
  std::uint32_t plans = 16;                         // of one program
  std::uint64_t device_bytes = ~std::uint64_t{0};   // behind handles
  std::uint64_t user_bytes = ~std::uint64_t{0};     // behind handles of all sessions of its user
  std::uint64_t graph_bytes = 256u << 20;           // of one COMPILE, blobs not counted
  std::uint64_t scratch_bytes = ~std::uint64_t{0};  // of one plan
  std::uint64_t compile_ms = 0;                     // of one COMPILE or plan; 0: no limit
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

// What all sessions of one user hold behind handles; the ring thread adds, any thread may take back.
using UserBytes = std::atomic<std::uint64_t>;

struct Session {
  Session(const SessionLimits& session_limits, std::shared_ptr<MemoryBudget> memory_budget,
          std::shared_ptr<UserBytes> bytes_of_user);
  ~Session();

  // False: it would be too much, of the session's, its user's or the device's; refusal() then says which.
  bool charge(std::uint64_t bytes);
  void discharge(std::uint64_t bytes);
  std::string refusal(std::uint64_t bytes) const;

  const SessionLimits limits;
  const std::shared_ptr<MemoryBudget> memory;
  const std::shared_ptr<UserBytes> user_bytes;
  std::shared_ptr<DeviceLedger> ledger;  // null: nobody else counts
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

 private:
  void uncount(std::uint64_t bytes);
};

}  // namespace ml::runtime
