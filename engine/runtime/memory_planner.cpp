#include "engine/runtime/memory_planner.h"

#include <algorithm>
#include <functional>

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

// Orders are tried until one reaches the bound. A plan is made for every new shape, so they are few.
constexpr int kMostTries = 24;

struct Placed {
  std::vector<std::size_t> offsets;
  std::size_t size = 0;
  std::size_t highest = 0;  // where in the order the lifetime is that ends there
};

// Each in turn at the lowest offset where it fits.
Placed place(std::span<const Lifetime> lifetimes, std::span<const std::uint32_t> order) {
  Placed result;
  result.offsets.assign(lifetimes.size(), 0);
  std::vector<std::uint32_t> placed;  // by offset
  for (std::size_t at = 0; at < order.size(); ++at) {
    const std::uint32_t index = order[at];
    const std::size_t bytes = align_memory(lifetimes[index].bytes);
    std::size_t offset = 0;
    for (const std::uint32_t other : placed) {
      if (!overlap(lifetimes[other], lifetimes[index])) continue;
      if (offset + bytes <= result.offsets[other]) break;
      offset = std::max(offset, result.offsets[other] + align_memory(lifetimes[other].bytes));
    }
    result.offsets[index] = offset;
    if (offset + bytes > result.size) {
      result.size = offset + bytes;
      result.highest = at;
    }
    const auto behind =
        std::ranges::upper_bound(placed, offset, {}, [&](std::uint32_t i) { return result.offsets[i]; });
    placed.insert(behind, index);
  }
  return result;
}

}  // namespace

MemoryPlan plan_memory(std::span<const Lifetime> lifetimes) {
  const std::size_t bound = most_alive(lifetimes);
  const auto steps = [&](std::uint32_t i) { return lifetimes[i].last - lifetimes[i].first + 1; };
  std::vector<std::uint32_t> by_size;
  for (std::uint32_t i = 0; i < lifetimes.size(); ++i) {
    if (lifetimes[i].bytes != 0) by_size.push_back(i);
  }
  std::ranges::stable_sort(by_size,
                           [&](std::uint32_t a, std::uint32_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  std::vector<std::uint32_t> by_area = by_size;
  std::ranges::stable_sort(by_area, std::ranges::greater{},
                           [&](std::uint32_t i) { return static_cast<double>(lifetimes[i].bytes) * steps(i); });

  MemoryPlan plan{std::vector<std::size_t>(lifetimes.size(), 0), by_size.empty() ? 0 : ~std::size_t{0}, bound};
  for (std::vector<std::uint32_t> order : {by_size, by_area}) {
    for (int tries = 0; tries < kMostTries / 2 && plan.size > bound; ++tries) {
      Placed placed = place(lifetimes, order);
      // What ended highest had no room left below: next time it chooses first.
      const auto highest = order.begin() + static_cast<std::ptrdiff_t>(placed.highest);
      if (placed.size < plan.size) {
        plan.size = placed.size;
        plan.offsets = std::move(placed.offsets);
      }
      std::rotate(order.begin(), highest, highest + 1);
    }
  }
  return plan;
}

}  // namespace ml::runtime
