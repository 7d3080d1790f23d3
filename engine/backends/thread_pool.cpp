#include "engine/backends/thread_pool.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cmath>
#include <fstream>
#include <map>
#include <string>

namespace ml {
namespace {

constexpr std::int64_t kSpinNs = 50'000;

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<std::uint32_t>& word, int count) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits for `word` to differ from `seen`, at most `spin_ns`.
bool spin_until_changed(const std::atomic<std::uint32_t>& word, std::uint32_t seen, std::int64_t spin_ns) {
  if (spin_ns <= 0) return word.load(std::memory_order_acquire) != seen;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(spin_ns);
  for (;;) {
    for (int i = 0; i < 32; ++i) {
      if (word.load(std::memory_order_acquire) != seen) return true;
      relax();
    }
    if (std::chrono::steady_clock::now() >= deadline) return false;
  }
}

// The CPUs' worth of time that a cgroup v2 directory and its parents allow, 0 for no limit.
double quota_of(std::string path) {
  double least = 0;
  for (;;) {
    std::ifstream file("/sys/fs/cgroup" + path + "/cpu.max");
    std::string quota;
    double period = 0;
    if (file >> quota >> period && quota != "max" && period > 0) {
      const double cpus = std::strtod(quota.c_str(), nullptr) / period;
      if (cpus > 0) least = least == 0 ? cpus : std::min(least, cpus);
    }
    if (path.empty()) return least;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

double cgroup_cpus() {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::")) {
      const std::string path = line.substr(3);
      return quota_of(path == "/" ? std::string() : path);
    }
  }
  // cgroup v1 has the limit in two files of the cpu controller.
  double quota = 0, period = 0;
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  return quota > 0 && period > 0 ? quota / period : 0;
}

// A cache line each: threads count in their own.
struct alignas(64) Run {
  std::atomic<std::int64_t> next;
  std::int64_t end;
};
constexpr std::int64_t kMostRuns = 64;

}  // namespace

// Lives on the caller's stack; in the list until the caller finds no part that nobody has taken.
struct ThreadPool::Job {
  Job(Call to_call, void* with, std::int64_t parts, std::int64_t threads)
      : call(to_call),
        context(with),
        runs(std::min(threads, kMostRuns)),
        slot_per_thread(threads <= parts),
        pending(parts) {
    std::int64_t begin = 0;
    for (std::int64_t i = 0; i < runs; ++i) {
      run[i].next.store(begin, std::memory_order_relaxed);
      run[i].end = begin += parts / runs + (i < parts % runs ? 1 : 0);
    }
  }

  bool has_parts() const {
    return std::any_of(run, run + runs, [](const Run& r) { return r.next.load(std::memory_order_relaxed) < r.end; });
  }
  // Calls what is left of the run `home`, then of the others; how many parts that were.
  std::int64_t take(std::int64_t home) {
    std::int64_t taken = 0;
    for (std::int64_t i = 0; i < runs; ++i) {
      Run& from = run[(home + i) % runs];
      for (;; ++taken) {
        const std::int64_t part = from.next.fetch_add(1, std::memory_order_relaxed);
        if (part >= from.end) break;
        call(context, part, slot_per_thread ? home : part);
      }
    }
    return taken;
  }

  Call call;
  void* context;
  std::int64_t runs;
  bool slot_per_thread;
  // Parts that haven't run, and workers inside: at 0 no worker touches the job again.
  std::atomic<std::int64_t> pending;
  Job* next = nullptr;
  Run run[kMostRuns];
};

int available_cpus() {
  int cpus = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
  const double quota = cgroup_cpus();
  return quota > 0 ? std::clamp(static_cast<int>(std::ceil(quota)), 1, cpus) : cpus;
}

ThreadPool::ThreadPool(int threads) : posted_(0), done_(0), sleeping_(0), waiting_(0), stop_(false) {
  const int cpus = available_cpus();
  if (threads <= 0) threads = cpus;
  spin_ns_ = cpus < threads ? 0 : kSpinNs;
  workers_.reserve(static_cast<std::size_t>(threads - 1));
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (...) {  // no more threads
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stop_.store(true);
  posted_.fetch_add(1);
  futex_wake(posted_, INT_MAX);
  for (std::thread& worker : workers_) worker.join();
}

std::shared_ptr<ThreadPool> ThreadPool::of_process(int threads) {
  static std::mutex mutex;
  static std::map<int, std::weak_ptr<ThreadPool>> pools;
  if (threads <= 0) threads = available_cpus();
  const std::lock_guard lock(mutex);
  std::weak_ptr<ThreadPool>& slot = pools[threads];
  std::shared_ptr<ThreadPool> pool = slot.lock();
  if (!pool) slot = pool = std::make_shared<ThreadPool>(threads);
  return pool;
}

// The first job that has a part left, which waits for this thread from now on.
ThreadPool::Job* ThreadPool::enter() {
  const std::lock_guard lock(mutex_);
  Job* job = jobs_;
  while (job != nullptr && !job->has_parts()) job = job->next;
  if (job != nullptr) job->pending.fetch_add(1, std::memory_order_relaxed);
  return job;
}

void ThreadPool::run(std::int64_t parts, Call call, void* context) {
  Job job(call, context, parts, threads());
  {
    const std::lock_guard lock(mutex_);
    Job** link = &jobs_;
    while (*link != nullptr) link = &(*link)->next;
    *link = &job;
  }
  // Pairs with work(): either the sleeper sees the new count, or this thread sees the sleeper.
  posted_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst) > 0) {
    futex_wake(posted_, static_cast<int>(std::min<std::int64_t>(parts - 1, INT_MAX)));
  }
  const std::int64_t taken = job.take(0);
  {
    const std::lock_guard lock(mutex_);
    Job** link = &jobs_;
    while (*link != &job) link = &(*link)->next;
    *link = job.next;
  }
  if (job.pending.fetch_sub(taken, std::memory_order_acq_rel) == taken) return;
  while (job.pending.load(std::memory_order_acquire) > 0) {
    const std::uint32_t seen = done_.load(std::memory_order_seq_cst);
    if (job.pending.load(std::memory_order_seq_cst) == 0) break;
    if (spin_until_changed(done_, seen, spin_ns_)) continue;
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    if (done_.load(std::memory_order_seq_cst) == seen && job.pending.load(std::memory_order_seq_cst) > 0) {
      futex_wait(done_, seen);
    }
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
  }
}

void ThreadPool::work(std::int64_t home) {
  for (;;) {
    const std::uint32_t seen = posted_.load(std::memory_order_seq_cst);
    while (Job* const job = enter()) {
      const std::int64_t counted = job->take(home) + 1;
      // The job may be gone as soon as nothing is pending.
      if (job->pending.fetch_sub(counted, std::memory_order_seq_cst) == counted) {
        done_.fetch_add(1, std::memory_order_seq_cst);
        if (waiting_.load(std::memory_order_seq_cst) > 0) futex_wake(done_, INT_MAX);
      }
    }
    if (stop_.load(std::memory_order_acquire)) return;
    if (spin_until_changed(posted_, seen, spin_ns_)) continue;
    sleeping_.fetch_add(1, std::memory_order_seq_cst);
    if (posted_.load(std::memory_order_seq_cst) == seen) futex_wait(posted_, seen);
    sleeping_.fetch_sub(1, std::memory_order_seq_cst);
  }
}

}  // namespace ml
