// Threads that run the parts of one kernel side by side.
//
// What the parts are is decided by the caller, from shapes alone unless every cut gives the same bits; which thread
// runs which part is not, so results never depend on it. Each thread begins with a run of parts of its own, the same
// from call to call: what it wrote as part of one kernel it mostly reads in the next, from its own cache. Then it takes
// what others have left. Threads without work spin for at most 50 us, not at all when there are fewer CPUs than
// threads, then sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace ml {

// The CPUs that this process may use: affinity mask and cgroup quota, at least 1.
int available_cpus();

class ThreadPool {
 public:
  // `threads` counts the calling thread; zero means available_cpus().
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // The pool of this process for that many threads, made by the first who asks.
  static std::shared_ptr<ThreadPool> of_process(int threads);

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls fn(part) for every part in [0, parts) and returns when all have run. The caller works too; one part runs
  // inline. No allocation. Several threads may call at once, and fn may call again. fn must not throw.
  //
  // fn(part, slot) is also told a number in [0, parts) that no other part of the call has while it runs: which piece of
  // the scratch memory to use. No more of them are in use than there are threads, so that the memory stays in caches.
  template <class F>
  void parallel_for(std::int64_t parts, F&& fn) {
    using Function = std::remove_reference_t<F>;
    const Call call = [](void* context, std::int64_t part, std::int64_t slot) {
      if constexpr (std::is_invocable_v<Function&, std::int64_t, std::int64_t>)
        (*static_cast<Function*>(context))(part, slot);
      else
        (*static_cast<Function*>(context))(part);
    };
    void* const context = const_cast<std::remove_const_t<Function>*>(&fn);
    if (parts <= 1 || workers_.empty()) {
      for (std::int64_t part = 0; part < parts; ++part) call(context, part, 0);
    } else {
      run(parts, call, context);
    }
  }

 private:
  using Call = void (*)(void* context, std::int64_t part, std::int64_t slot);

  struct Job;

  void run(std::int64_t parts, Call call, void* context);
  Job* enter();
  void work(std::int64_t home);
  void stop();

  std::mutex mutex_;
  Job* jobs_ = nullptr;                 // guarded by mutex_
  std::atomic<std::uint32_t> posted_;   // counts jobs: what idle threads watch
  std::atomic<std::uint32_t> done_;     // counts finished jobs: what callers watch
  std::atomic<std::int32_t> sleeping_;  // threads asleep on posted_
  std::atomic<std::int32_t> waiting_;   // callers asleep on done_
  std::atomic<bool> stop_;
  std::int64_t spin_ns_;
  std::vector<std::thread> workers_;
};

}  // namespace ml
