#include "engine/runtime/session.h"

#include <utility>

#include "engine/runtime/queue.h"

namespace ml::runtime {
namespace {

bool fits(std::uint64_t bytes, std::uint64_t held, std::uint64_t limit) {
  return held <= limit && bytes <= limit - held;
}

std::string used_up(const char* whose, std::uint64_t held, std::uint64_t limit, std::uint64_t bytes) {
  return std::string("the ") + whose + "'s device memory is used up: " + std::to_string(held) + " of " +
         std::to_string(limit) + " bytes, and " + std::to_string(bytes) + " more wanted";
}

}  // namespace

Session::Session(const SessionLimits& session_limits, std::shared_ptr<MemoryBudget> memory_budget,
                 std::shared_ptr<UserBytes> bytes_of_user)
    : limits(session_limits),
      memory(std::move(memory_budget)),
      user_bytes(std::move(bytes_of_user)),
      handles(session_limits.handles),
      arenas(session_limits.arenas) {}

Session::~Session() { uncount(charged.get()); }

bool Session::charge(std::uint64_t bytes) {
  if (!fits(bytes, charged.get(), limits.device_bytes) || !fits(bytes, *user_bytes, limits.user_bytes)) return false;
  if (!memory->try_take(bytes, MemoryBudget::Purpose::handles)) return false;
  if (ledger && !ledger->take(bytes)) {
    memory->give_back(bytes, MemoryBudget::Purpose::handles);
    return false;
  }
  charged.add(bytes);
  *user_bytes += bytes;
  return true;
}

void Session::discharge(std::uint64_t bytes) {
  if (ledger) ledger->give_back(bytes);
  uncount(bytes);
}

void Session::uncount(std::uint64_t bytes) {
  charged.subtract(bytes);
  *user_bytes -= bytes;
  memory->give_back(bytes, MemoryBudget::Purpose::handles);
}

std::string Session::refusal(std::uint64_t bytes) const {
  if (!fits(bytes, charged.get(), limits.device_bytes))
    return used_up("session", charged.get(), limits.device_bytes, bytes);
  if (!fits(bytes, *user_bytes, limits.user_bytes)) return used_up("user", *user_bytes, limits.user_bytes, bytes);
  if (ledger && fits(bytes, memory->used(), memory->limit())) return ledger->refusal();
  return memory->refusal(bytes, MemoryBudget::Purpose::handles);
}

}  // namespace ml::runtime
