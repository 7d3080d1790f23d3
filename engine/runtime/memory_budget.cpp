#include "engine/runtime/memory_budget.h"

#include "ml/error.h"

namespace ml::runtime {
namespace {

constexpr const char* kPurposes[] = {"memory behind a handle", "programs", "intermediate values"};

}  // namespace

bool MemoryBudget::try_take(std::uint64_t bytes, Purpose purpose) {
  std::uint64_t used = used_.load(std::memory_order_relaxed);
  do {
    if (used > limit_ || bytes > limit_ - used) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  part(purpose).fetch_add(bytes, std::memory_order_relaxed);
  return true;
}

void MemoryBudget::give_back(std::uint64_t bytes, Purpose purpose) {
  part(purpose).fetch_sub(bytes, std::memory_order_relaxed);
  used_.fetch_sub(bytes, std::memory_order_relaxed);
}

std::string MemoryBudget::refusal(std::uint64_t bytes, Purpose purpose) const {
  return "the memory of the device is used up: " + std::to_string(used()) + " of " + std::to_string(limit_) +
         " bytes, and " + std::to_string(bytes) + " more wanted for " + kPurposes[static_cast<std::size_t>(purpose)];
}

void MemoryShare::grow_to(std::uint64_t bytes) {
  if (bytes <= bytes_) return;
  if (budget_ != nullptr && !budget_->try_take(bytes - bytes_, purpose_)) {
    throw Error(Code::no_space, budget_->refusal(bytes - bytes_, purpose_), {},
                "free what isn't used any more, or wait until others have");
  }
  bytes_ = bytes;
}

void MemoryShare::shrink_to(std::uint64_t bytes) {
  if (bytes >= bytes_) return;
  if (budget_ != nullptr) budget_->give_back(bytes_ - bytes, purpose_);
  bytes_ = bytes;
}

}  // namespace ml::runtime
