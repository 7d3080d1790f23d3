// One client of a worker: its tables and what it may still hold. Used by the ring thread alone.
#pragma once

#include <cstdint>
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
};

struct Session {
  explicit Session(const SessionLimits& session_limits);
  ~Session();

  bool charge(std::uint64_t bytes) {
    if (bytes > limits.device_bytes - charged) return false;
    charged += bytes;
    return true;
  }
  void discharge(std::uint64_t bytes) { charged -= bytes; }

  SessionLimits limits;
  HandleTable handles;
  ArenaTable arenas;
  std::uint64_t charged = 0;
  std::vector<std::unique_ptr<Queue>> queues;
};

}  // namespace ml::runtime
