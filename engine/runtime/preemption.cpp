#include "engine/runtime/preemption.h"

#include <algorithm>

#include "engine/runtime/clock.h"

namespace ml::runtime {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

void raise_to(std::atomic<std::uint64_t>& most, std::uint64_t value) {
  std::uint64_t known = most.load(std::memory_order_relaxed);
  while (value > known && !most.compare_exchange_weak(known, value, std::memory_order_relaxed)) {
  }
}

}  // namespace

// ---- serving ------------------------------------------------------------------------------------------------------

Demand::~Demand() {
  if (raised_) lower();
}

void Demand::change(bool work, std::uint64_t now) {
  if (work) {
    idle_since_ = 0;
    if (raised_) return;
    raised_ = true;
    for (PreemptionPage* page : pages_) {
      if (__atomic_load_n(&page->demand, __ATOMIC_RELAXED) == 0)
        __atomic_store_n(&page->demanded_at, now, __ATOMIC_RELAXED);
      __atomic_fetch_add(&page->demand, 1, __ATOMIC_SEQ_CST);
    }
  } else if (idle_since_ == 0) {
    idle_since_ = now;
  } else if (now - idle_since_ >= kLinger) {
    lower();
  }
}

void Demand::lower() {
  raised_ = false;
  idle_since_ = 0;
  for (PreemptionPage* page : pages_) {
    std::uint32_t demand = __atomic_load_n(&page->demand, __ATOMIC_RELAXED);
    // 0: mld has reset it.
    while (demand != 0 && !__atomic_compare_exchange_n(&page->demand, &demand, demand - 1, false, __ATOMIC_SEQ_CST,
                                                       __ATOMIC_RELAXED)) {
    }
    if (demand == 1 && __atomic_load_n(&page->standing, __ATOMIC_SEQ_CST) != 0) wake_standing(*page);
  }
}

// ---- training -----------------------------------------------------------------------------------------------------

void PreemptionGate::hold(Passer& passer) {
  const std::uint64_t began = monotonic_now();
  if (passer.step_began != 0) count(passer, began);
  if (began - passer.resumed >= kLeastRun) passer.held = 0;
  const std::uint64_t until = began + kLongestHold - passer.held;
  do {
    for (PreemptionPage* page : pages_) hold(*page, until);
    passer.resumed = monotonic_now();
  } while (passer.resumed < until && demanded(passer, passer.resumed));
  passer.held += passer.resumed - began;
  if (passer.held < kLongestHold) return;
  passer.held = 0;
  passer.run_until = passer.resumed + kLeastRun;
}

void PreemptionGate::hold(PreemptionPage& page, std::uint64_t until) const {
  const timespec deadline{static_cast<time_t>(until / kSecond), static_cast<long>(until % kSecond)};
  // Said before looking: whoever lowers the demand to 0 either sees it or is seen.
  __atomic_fetch_add(&page.standing, 1, __ATOMIC_SEQ_CST);
  while (const std::uint32_t demand = __atomic_load_n(&page.demand, __ATOMIC_SEQ_CST)) {
    if (monotonic_now() >= until) break;
    wait_for_demand_to_change(page, demand, deadline);
  }
  __atomic_fetch_sub(&page.standing, 1, __ATOMIC_RELAXED);
}

// A step was under way when it was demanded, or when the time was over for which nothing could be.
void PreemptionGate::count(const Passer& passer, std::uint64_t now) {
  std::uint64_t demanded = passer.run_until;
  for (const PreemptionPage* page : pages_) {
    if (__atomic_load_n(&page->demand, __ATOMIC_RELAXED) != 0)
      demanded = std::max(demanded, __atomic_load_n(&page->demanded_at, __ATOMIC_RELAXED));
  }
  const std::uint64_t taken = now - std::min(now, std::max(demanded, passer.step_began));
  switches_.fetch_add(1, std::memory_order_relaxed);
  switch_total_.fetch_add(taken, std::memory_order_relaxed);
  raise_to(switch_longest_, taken);
  raise_to(longest_kernel_, now - passer.step_began);
}

PreemptionGate::Counts PreemptionGate::counts() const {
  return {switches_.load(std::memory_order_relaxed), switch_total_.load(std::memory_order_relaxed),
          switch_longest_.load(std::memory_order_relaxed), longest_kernel_.load(std::memory_order_relaxed)};
}

}  // namespace ml::runtime
