// Gives every temporary of a plan its place in one arena, so that those that live at the same time never overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ml::runtime {

inline constexpr std::size_t kMemoryAlignment = 64;
constexpr std::size_t align_memory(std::size_t bytes) {
  return (bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
}

// Bytes that are needed from step `first` to step `last`, both included.
struct Lifetime {
  std::size_t bytes = 0;
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};

struct MemoryPlan {
  std::vector<std::size_t> offsets;  // one per lifetime, multiples of kMemoryAlignment
  std::size_t size = 0;              // of the arena
  std::size_t lower_bound = 0;       // the most that is alive at one step: no plan can be smaller
};

// Greedy by size: the largest first, each at the lowest offset where it fits (Pisarchyk and Lee, arXiv 2001.03288).
// Where that is more than the bound, other orders are tried: by bytes times steps, and with what ended highest in
// front.
MemoryPlan plan_memory(std::span<const Lifetime> lifetimes);

}  // namespace ml::runtime
