#include "engine/runtime/memory_planner.h"

#include <algorithm>
#include <numeric>

namespace ml::runtime {
namespace {

std::size_t most_alive(std::span<const Lifetime> lifetimes) {
  std::uint32_t steps = 0;
  for (const Lifetime& lifetime : lifetimes) steps = std::max(steps, lifetime.last + 1);
  std::vector<std::size_t> born(steps + 1, 0), died(steps + 1, 0);
  for (const Lifetime& lifetime : lifetimes) {
    born[lifetime.first] += align_memory(lifetime.bytes);
    died[lifetime.last + 1] += align_memory(lifetime.bytes);
  }
  std::size_t alive = 0, most = 0;
  for (std::uint32_t step = 0; step < steps; ++step) {
    alive = alive + born[step] - died[step];
    most = std::max(most, alive);
  }
  return most;
}

bool overlap(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

}  // namespace

MemoryPlan plan_memory(std::span<const Lifetime> lifetimes) {
  MemoryPlan plan;
  plan.offsets.assign(lifetimes.size(), 0);
  plan.lower_bound = most_alive(lifetimes);

  std::vector<std::uint32_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::stable_sort(order,
                           [&](std::uint32_t a, std::uint32_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });

  std::vector<std::uint32_t> placed;  // by offset
  for (const std::uint32_t index : order) {
    const std::size_t bytes = align_memory(lifetimes[index].bytes);
    if (bytes == 0) continue;
    std::size_t offset = 0;
    for (const std::uint32_t other : placed) {
      if (!overlap(lifetimes[other], lifetimes[index])) continue;
      if (offset + bytes <= plan.offsets[other]) break;
      offset = std::max(offset, plan.offsets[other] + align_memory(lifetimes[other].bytes));
    }
    plan.offsets[index] = offset;
    plan.size = std::max(plan.size, offset + bytes);
    const auto at = std::ranges::upper_bound(placed, offset, {}, [&](std::uint32_t i) { return plan.offsets[i]; });
    placed.insert(at, index);
  }
  return plan;
}

}  // namespace ml::runtime
