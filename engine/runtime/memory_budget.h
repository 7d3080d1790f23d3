// How much device memory all sessions of a worker may take together.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace ml::runtime {

// Any thread.
class MemoryBudget {
 public:
  enum class Purpose : std::uint8_t { handles, programs, scratch };

  explicit MemoryBudget(std::uint64_t limit) : limit_(limit) {}

  std::uint64_t limit() const { return limit_; }
  std::uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  std::uint64_t used_for(Purpose purpose) const { return part(purpose).load(std::memory_order_relaxed); }
  bool try_take(std::uint64_t bytes, Purpose purpose);
  void give_back(std::uint64_t bytes, Purpose purpose);
  // "the memory of the device is used up: 90 of 100 bytes, and 20 more wanted for intermediate values"
  std::string refusal(std::uint64_t bytes, Purpose purpose) const;

 private:
  const std::atomic<std::uint64_t>& part(Purpose purpose) const { return parts_[static_cast<std::size_t>(purpose)]; }
  std::atomic<std::uint64_t>& part(Purpose purpose) { return parts_[static_cast<std::size_t>(purpose)]; }

  const std::uint64_t limit_;
  std::atomic<std::uint64_t> used_{0};
  std::array<std::atomic<std::uint64_t>, 3> parts_{};
};

// A part of a budget, given back with the object. Without a budget nobody counts.
class MemoryShare {
 public:
  MemoryShare(std::shared_ptr<MemoryBudget> budget, MemoryBudget::Purpose purpose)
      : budget_(std::move(budget)), purpose_(purpose) {}
  ~MemoryShare() { shrink_to(0); }
  MemoryShare(const MemoryShare&) = delete;
  MemoryShare& operator=(const MemoryShare&) = delete;

  // Does nothing when it is larger. Throws no_space; then it is what it was.
  void grow_to(std::uint64_t bytes);
  void shrink_to(std::uint64_t bytes);
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<MemoryBudget> budget_;
  MemoryBudget::Purpose purpose_;
  std::uint64_t bytes_ = 0;
};

}  // namespace ml::runtime
