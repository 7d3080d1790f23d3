#include "engine/runtime/task_thread.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "engine/runtime/clock.h"
#include "engine/runtime/queue.h"

namespace ml::runtime {

TaskThread::TaskThread(Work work, Wakeup& done, TaskThreadOptions options)
    : work_(std::move(work)), done_(done), options_(std::move(options)), thread_([this] { run(); }) {
  pthread_setname_np(thread_.native_handle(), options_.name.c_str());
}

TaskThread::~TaskThread() {
  stop_.store(true, std::memory_order_release);
  sleeper_.wake();
  thread_.join();
}

void TaskThread::hand_over(Task& task, FairShare::User& user, std::uint64_t now) {
  if (outstanding_ == 0) since_ = now;
  tasks_.put(&task);
  ++outstanding_;
  queue_ = task.queue;
  user_ = &user;
  sleeper_.wake();
}

Task* TaskThread::take_back(std::uint64_t now) {
  Task* task = nullptr;
  if (!results_.take(task)) return nullptr;
  --outstanding_;
  since_ = now;
  return task;
}

void TaskThread::say_running(std::uint64_t session) {
  if (options_.running != nullptr) __atomic_store_n(options_.running, session, __ATOMIC_RELAXED);
}

void TaskThread::run() {
  if (options_.niceness != 0) setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), options_.niceness);
  bool was_short = false, idle_work = false;
  for (;;) {
    Task* task = nullptr;
    bool found = tasks_.take(task);
    if (!found && was_short) {
      const std::uint64_t until = monotonic_now() + options_.spin;
      while (!(found = tasks_.take(task)) && monotonic_now() < until) relax();
    }
    if (!found) {
      was_short = false;
      if (stop_.load(std::memory_order_acquire)) return;
      if (idle_work && (idle_work = options_.idle())) continue;
      sleeper_.sleep([this] { return !tasks_.empty() || stop_.load(std::memory_order_acquire); });
      continue;
    }
    say_running(task->queue->session().limits.number);
    work_(*task);
    say_running(0);
    was_short = task->ended - task->started < options_.spin;
    results_.put(task);
    done_.wake();
    idle_work = options_.idle != nullptr;
  }
}

}  // namespace ml::runtime
