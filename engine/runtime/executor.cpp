#include "engine/runtime/executor.h"

#include <pthread.h>

#include <string>

#include "engine/runtime/clock.h"
#include "engine/runtime/queue.h"

namespace ml::runtime {

Executor::Executor(Device& device, Wakeup& done, std::uint64_t spin, std::uint32_t number)
    : context_(device), done_(done), spin_(spin), thread_([this] { run(); }) {
  pthread_setname_np(thread_.native_handle(), ("ml-exec-" + std::to_string(number)).c_str());
}

Executor::~Executor() {
  stop_.store(true, std::memory_order_release);
  sleeper_.wake();
  thread_.join();
}

bool Executor::hand_over(Task& task, std::uint64_t now) {
  if (outstanding_ == kDepth) return false;
  if (outstanding_ == 0) since_ = now;
  work_.put(&task);
  ++outstanding_;
  queue_ = task.queue;
  user_ = task.queue->turn.user;
  sleeper_.wake();
  return true;
}

Task* Executor::take_back(std::uint64_t now) {
  Task* task = nullptr;
  if (!results_.take(task)) return nullptr;
  --outstanding_;
  since_ = now;
  return task;
}

void Executor::run() {
  bool was_short = false;
  for (;;) {
    Task* task = nullptr;
    bool found = work_.take(task);
    if (!found && was_short) {
      const std::uint64_t until = monotonic_now() + spin_;
      while (!(found = work_.take(task)) && monotonic_now() < until) relax();
    }
    if (!found) {
      was_short = false;
      if (stop_.load(std::memory_order_acquire)) return;
      sleeper_.sleep([this] { return !work_.empty() || stop_.load(std::memory_order_acquire); });
      continue;
    }
    run_task(*task, context_);
    was_short = task->ended - task->started < spin_;
    results_.put(task);
    done_.wake();
  }
}

}  // namespace ml::runtime
