// Training gives way to inference between two kernels of a plan.
//
// The workers of one device share a page. A serving worker that has work raises the demand; executors of a training
// worker look at it before each step, which is one load while there is none. When there is, they let what they have
// enqueued end, and stand still on a futex until the demand is gone. Having stood still for kLongestHold, at once or in
// parts, they run for kLeastRun, so that training goes on however busy serving is, and a demand that a killed server
// left behind stops nothing.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace ml::runtime {

// Written with atomics, slept on with futexes by several processes. Zero at first.
struct PreemptionPage {
  std::uint32_t demand;  // serving workers that have work now
  std::uint32_t pad0[31];
  std::uint64_t demanded_at;  // CLOCK_MONOTONIC ns of the last rise from 0
  std::uint32_t standing;     // executors that sleep on `demand`
  std::uint32_t pad1[29];
};
static_assert(sizeof(PreemptionPage) == 256);
static_assert(offsetof(PreemptionPage, demanded_at) == 128);

enum class PreemptionRole : std::uint32_t { serving = 0, training = 1 };

// How long an executor stands still before it runs for a while all the same, and for how long then; ns. Together they
// leave training a twentieth of a device that is never free, and make an unlucky request wait 5 ms.
inline constexpr std::uint64_t kLongestHold = 100'000'000;
inline constexpr std::uint64_t kLeastRun = 5'000'000;
// How long a serving worker keeps up its demand when it has no work any more; ns. The next request of a client that
// asks again and again comes within this time, and finds the device still.
inline constexpr std::uint64_t kLinger = 200'000;

// The futex is shared by processes. `deadline`: CLOCK_MONOTONIC.
inline void wait_for_demand_to_change(PreemptionPage& page, std::uint32_t from, const timespec& deadline) {
  syscall(SYS_futex, &page.demand, FUTEX_WAIT_BITSET, from, &deadline, nullptr, FUTEX_BITSET_MATCH_ANY);
}
inline void wake_standing(PreemptionPage& page) {
  syscall(SYS_futex, &page.demand, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// When the device's serving worker has died: what it left on the page is gone, and who stands still goes on.
inline void reset_demand(PreemptionPage& page) {
  __atomic_store_n(&page.demand, 0, __ATOMIC_SEQ_CST);
  wake_standing(page);
}

// The serving side, on the ring thread.
class Demand {
 public:
  explicit Demand(std::vector<PreemptionPage*> pages) : pages_(std::move(pages)) {}  // none: nobody gives way
  ~Demand();
  Demand(const Demand&) = delete;
  Demand& operator=(const Demand&) = delete;

  // To be told in each turn whether there is work.
  void update(bool work, std::uint64_t now) {
    if (!pages_.empty() && (work || raised_)) change(work, now);
  }
  // When to be told again though nothing happens; 0: never.
  std::uint64_t next_update() const { return raised_ && idle_since_ != 0 ? idle_since_ + kLinger : 0; }

 private:
  void change(bool work, std::uint64_t now);
  void lower();

  std::vector<PreemptionPage*> pages_;
  bool raised_ = false;
  std::uint64_t idle_since_ = 0;  // 0: it has work
};

// The training side, for all executors of a worker.
class PreemptionGate {
 public:
  // Gives way to the servers of any of its devices. The pages stay the caller's.
  explicit PreemptionGate(std::vector<PreemptionPage*> pages) : pages_(std::move(pages)) {}
  PreemptionGate(const PreemptionGate&) = delete;
  PreemptionGate& operator=(const PreemptionGate&) = delete;

  // What one executor brings along.
  struct Passer {
    std::uint64_t step_began = 0;  // when its last step began; 0: none of this execution has
    std::uint64_t run_until = 0;   // until then it doesn't give way
    std::uint64_t resumed = 0;     // when it stood still last
    std::uint64_t held = 0;        // for how long since it ran for kLeastRun
  };
  bool demanded(const Passer& passer, std::uint64_t now) const {
    for (const PreemptionPage* page : pages_) {
      if (__atomic_load_n(&page->demand, __ATOMIC_RELAXED) != 0) return now >= passer.run_until;
    }
    return false;
  }
  // Stands still while it is demanded, and no longer than kLongestHold. What was enqueued has ended.
  void hold(Passer& passer);

  struct Counts {
    std::uint64_t switches = 0;         // how often an execution was made to stand still
    std::uint64_t switch_ns_total = 0;  // from the demand, or the end of kLeastRun, to standing still
    std::uint64_t switch_ns_longest = 0;
    std::uint64_t longest_kernel_ns = 0;  // of the steps during which a demand arrived
  };
  Counts counts() const;

 private:
  void hold(PreemptionPage& page, std::uint64_t until) const;
  void count(const Passer& passer, std::uint64_t now);

  std::vector<PreemptionPage*> pages_;
  std::atomic<std::uint64_t> switches_{0}, switch_total_{0}, switch_longest_{0}, longest_kernel_{0};
};

}  // namespace ml::runtime
