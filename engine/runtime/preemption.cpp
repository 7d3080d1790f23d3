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
    if (__atomic_load_n(&page_->demand, __ATOMIC_RELAXED) == 0)
      __atomic_store_n(&page_->demanded_at, now, __ATOMIC_RELAXED);
    __atomic_fetch_add(&page_->demand, 1, __ATOMIC_SEQ_CST);
  } else if (idle_since_ == 0) {
    idle_since_ = now;
  } else if (now - idle_since_ >= kLinger) {
    lower();
  }
}

void Demand::lower() {
  raised_ = false;
  idle_since_ = 0;
  std::uint32_t demand = __atomic_load_n(&page_->demand, __ATOMIC_RELAXED);
  do {
    if (demand == 0) return;  // mld has reset it
  } while (
      !__atomic_compare_exchange_n(&page_->demand, &demand, demand - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
  if (demand == 1 && __atomic_load_n(&page_->standing, __ATOMIC_SEQ_CST) != 0) wake_standing(*page_);
}

// ---- training -----------------------------------------------------------------------------------------------------

void PreemptionGate::hold(Passer& passer) {
  std::uint64_t now = monotonic_now();
  if (passer.step_began != 0) count(passer, now);
  const std::uint64_t began = now;
  if (began - passer.resumed >= kLeastRun) passer.held = 0;
  const std::uint64_t until = began + kLongestHold - passer.held;
  const timespec deadline{static_cast<time_t>(until / kSecond), static_cast<long>(until % kSecond)};
  // Said before looking: whoever lowers the demand to 0 either sees it or is seen.
  __atomic_fetch_add(&page_.standing, 1, __ATOMIC_SEQ_CST);
  std::uint32_t demand = 0;
  while ((demand = __atomic_load_n(&page_.demand, __ATOMIC_SEQ_CST)) != 0 && now < until) {
    wait_for_demand_to_change(page_, demand, deadline);
    now = monotonic_now();
  }
  __atomic_fetch_sub(&page_.standing, 1, __ATOMIC_RELAXED);
  passer.resumed = now;
  passer.held += now - began;
  if (passer.held < kLongestHold) return;
  passer.held = 0;
  passer.run_until = now + kLeastRun;
}

// A step was under way when it was demanded, or when the time was over for which nothing could be.
void PreemptionGate::count(const Passer& passer, std::uint64_t now) {
  const std::uint64_t demanded = std::max(__atomic_load_n(&page_.demanded_at, __ATOMIC_RELAXED), passer.run_until);
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
