#include "engine/runtime/session.h"

#include <utility>

#include "engine/runtime/queue.h"

namespace ml::runtime {

Session::Session(const SessionLimits& session_limits, std::shared_ptr<MemoryBudget> memory_budget)
    : limits(session_limits),
      memory(std::move(memory_budget)),
      handles(session_limits.handles),
      arenas(session_limits.arenas) {}

Session::~Session() { memory->give_back(charged.get(), MemoryBudget::Purpose::handles); }

bool Session::charge(std::uint64_t bytes) {
  if (bytes > limits.device_bytes - charged.get()) return false;
  if (!memory->try_take(bytes, MemoryBudget::Purpose::handles)) return false;
  charged.add(bytes);
  return true;
}

void Session::discharge(std::uint64_t bytes) {
  charged.subtract(bytes);
  memory->give_back(bytes, MemoryBudget::Purpose::handles);
}

std::string Session::refusal(std::uint64_t bytes) const {
  if (bytes <= limits.device_bytes - charged.get()) return memory->refusal(bytes, MemoryBudget::Purpose::handles);
  return "the session's device memory is used up: " + std::to_string(charged.get()) + " of " +
         std::to_string(limits.device_bytes) + " bytes, and " + std::to_string(bytes) + " more wanted";
}

}  // namespace ml::runtime
