#include "engine/runtime/ring_thread.h"

#include <pthread.h>

#include <algorithm>
#include <exception>

#include "engine/runtime/clock.h"

namespace ml::runtime {
namespace {

// How often a parked ring is looked at while the thread is awake for others, in turns of its loop.
constexpr std::uint32_t kParkedInterval = 64;
// Deadlines are looked at no more often than this.
constexpr std::uint64_t kDeadlineInterval = 50'000;

}  // namespace

struct RingThread::ControlCall {
  const std::function<bool()>& attempt;
  std::exception_ptr error;
  bool done = false;
};

RingThread::RingThread(Device& device, const ThreadOptions& options)
    : device_(device), options_(options), compiler_(device, wakeup_) {
  for (std::uint32_t i = 0; i < options.executors; ++i)
    executors_.push_back(std::make_unique<Executor>(device, wakeup_, options.spin, i));
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "ml-ring");
}

RingThread::~RingThread() {
  stop_.store(true, std::memory_order_release);
  wakeup_.wake();
  thread_.join();
}

void RingThread::call(const std::function<bool()>& attempt) {
  ControlCall call{attempt, nullptr, false};
  {
    const std::lock_guard lock(control_mutex_);
    new_calls_.push_back(&call);
    control_pending_.store(true, std::memory_order_release);
  }
  wakeup_.wake();
  std::unique_lock lock(control_mutex_);
  control_done_.wait(lock, [&call] { return call.done; });
  if (call.error) std::rethrow_exception(call.error);
}

bool RingThread::run_control_calls() {
  if (control_pending_.load(std::memory_order_acquire)) {
    const std::lock_guard lock(control_mutex_);
    control_calls_.insert(control_calls_.end(), new_calls_.begin(), new_calls_.end());
    new_calls_.clear();
    control_pending_.store(false, std::memory_order_relaxed);
  }
  if (control_calls_.empty()) return false;
  std::vector<ControlCall*> finished;
  std::erase_if(control_calls_, [&finished](ControlCall* call) {
    try {
      if (!call->attempt()) return false;
    } catch (...) {
      call->error = std::current_exception();
    }
    finished.push_back(call);
    return true;
  });
  if (finished.empty()) return false;
  {
    const std::lock_guard lock(control_mutex_);
    for (ControlCall* call : finished) call->done = true;
  }
  control_done_.notify_all();
  return true;
}

void RingThread::add_queue(Queue& queue) {
  wakeup_.add(queue, queue.memory().doorbell_fd());
  queue.unpark(monotonic_now());
  queues_.push_back(&queue);
}

void RingThread::remove_queue(Queue& queue) {
  wakeup_.remove(queue.memory().doorbell_fd());
  std::erase(queues_, &queue);
}

void RingThread::note_deadline(std::uint64_t deadline) {
  next_deadline_ = next_deadline_ == 0 ? deadline : std::min(next_deadline_, deadline);
}

Call* RingThread::acquire_call() {
  if (free_calls_.empty()) {
    calls_.push_back(std::make_unique<Call>());
    free_calls_.reserve(calls_.size());
    return calls_.back().get();
  }
  Call* call = free_calls_.back();
  free_calls_.pop_back();
  return call;
}

void RingThread::release_call(Call* call) {
  call->clear();
  free_calls_.push_back(call);
}

void RingThread::run() {
  while (!stop_.load(std::memory_order_acquire)) {
    const std::uint64_t now = monotonic_now();
    bool busy = poll_queues(now);
    busy |= collect();
    busy |= run_control_calls();
    busy |= expire(now);
    settle();
    busy |= dispatch();
    for (Queue* queue : queues_) queue->publish(now);
    if (busy) continue;
    if (park_idle(now))
      sleep(now);
    else
      relax();
  }
}

bool RingThread::poll_queues(std::uint64_t now) {
  const bool parked_too = ++turn_ % kParkedInterval == 0;
  bool busy = false;
  for (Queue* queue : queues_) {
    if (parked_too || !queue->parked()) busy |= queue->poll(now);
  }
  return busy;
}

bool RingThread::collect() {
  bool any = false;
  for (const std::unique_ptr<Executor>& executor : executors_) {
    while (Task* task = executor->take_back()) {
      task->queue->come_back(*task);
      any = true;
    }
  }
  while (Task* task = compiler_.take_back()) {
    task->queue->come_back(*task);
    any = true;
  }
  return any;
}

// Until nothing moves any more: what one queue finishes may start something on another.
void RingThread::settle() {
  for (bool moved = true; moved;) {
    moved = false;
    for (Queue* queue : queues_) moved |= queue->settle();
  }
}

// One task of each queue in turn, as long as an executor has room.
bool RingThread::dispatch() {
  bool any = false;
  std::size_t without = 0;
  while (without < queues_.size()) {
    Executor& least = **std::ranges::min_element(
        executors_, {}, [](const std::unique_ptr<Executor>& executor) { return executor->outstanding(); });
    if (least.outstanding() == Executor::kDepth) break;
    next_queue_ = (next_queue_ + 1) % queues_.size();
    Task* task = queues_[next_queue_]->pop_ready();
    if (task == nullptr) {
      ++without;
      continue;
    }
    without = 0;
    any = true;
    queues_[next_queue_]->leaves(*task);
    least.hand_over(*task);
  }
  return any;
}

bool RingThread::expire(std::uint64_t now) {
  if (next_deadline_ == 0 || now < next_deadline_) return false;
  next_deadline_ = 0;
  for (Queue* queue : queues_) {
    const std::uint64_t next = queue->expire(now);
    if (next != 0) note_deadline(std::max(next, now + kDeadlineInterval));
  }
  return true;
}

bool RingThread::park_idle(std::uint64_t now) {
  bool all = true;
  for (Queue* queue : queues_) all &= queue->park_if_idle(now, options_.park);
  return all;
}

void RingThread::sleep(std::uint64_t now) {
  const auto has_work = [this] {
    if (stop_.load(std::memory_order_acquire) || control_pending_.load(std::memory_order_acquire)) return true;
    for (const std::unique_ptr<Executor>& executor : executors_) {
      if (executor->has_results()) return true;
    }
    return compiler_.has_results();
  };
  wakeup_.sleep(next_deadline_, has_work, [now](Queue& queue) { queue.unpark(now); });
}

}  // namespace ml::runtime
