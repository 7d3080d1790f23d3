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
// How long a queue waits for an executor before one more is started, and how many more there may be.
constexpr std::uint64_t kPatience = 10'000'000;
constexpr std::size_t kRelief = 8;

}  // namespace

struct RingThread::ControlCall {
  const std::function<bool()>& attempt;
  std::exception_ptr error;
  bool done = false;
};

RingThread::RingThread(Device& device, const ThreadOptions& options)
    : device_(device), options_(options), most_executors_(options.executors + kRelief), compiler_(device, wakeup_) {
  for (std::uint32_t i = 0; i < options.executors; ++i) add_executor();
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

void RingThread::post(std::function<void()> action) {
  {
    const std::lock_guard lock(control_mutex_);
    new_actions_.push_back(std::move(action));
    control_pending_.store(true, std::memory_order_release);
  }
  wakeup_.wake();
}

EventBell& RingThread::bell() {
  std::call_once(bell_made_, [this] { bell_ = std::make_unique<EventBell>(); });
  return *bell_;
}

bool RingThread::run_control_calls() {
  if (control_pending_.load(std::memory_order_acquire)) {
    {
      const std::lock_guard lock(control_mutex_);
      control_calls_.insert(control_calls_.end(), new_calls_.begin(), new_calls_.end());
      new_calls_.clear();
      std::swap(actions_, new_actions_);
      control_pending_.store(false, std::memory_order_relaxed);
    }
    for (const std::function<void()>& action : actions_) action();
    actions_.clear();
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
    busy |= dispatch(now);
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

// One task of each queue in turn, as long as an executor is free for it.
bool RingThread::dispatch(std::uint64_t now) {
  bool any = false;
  for (std::size_t without = 0; without < queues_.size();) {
    next_queue_ = (next_queue_ + 1) % queues_.size();
    Queue& queue = *queues_[next_queue_];
    Executor* executor = queue.has_ready() ? executor_for(queue) : nullptr;
    if (executor == nullptr) {
      ++without;
      continue;
    }
    without = 0;
    any = true;
    Task& task = *queue.pop_ready();
    queue.leaves(task);
    executor->hand_over(task);
  }
  return relieve(now) || any;
}

// A free one, or the one that works for this queue already: nobody waits behind another's plan.
Executor* RingThread::executor_for(const Queue& queue) {
  Executor* own = nullptr;
  for (const std::unique_ptr<Executor>& executor : executors_) {
    if (executor->outstanding() == 0) return executor.get();
    if (executor->serves(queue) && executor->outstanding() < Executor::kDepth) own = executor.get();
  }
  return own;
}

// A plan may run for long, or for ever: when queues wait for it without an executor of their own, they get one. True:
// there is one more.
bool RingThread::relieve(std::uint64_t now) {
  const bool starved = std::ranges::any_of(queues_, [this](const Queue* queue) {
    return queue->has_ready() && std::ranges::none_of(executors_, [queue](const std::unique_ptr<Executor>& executor) {
             return executor->serves(*queue);
           });
  });
  if (!starved || executors_.size() >= most_executors_) {
    starved_since_ = 0;
  } else if (starved_since_ == 0) {
    starved_since_ = now;
  } else if (now - starved_since_ >= kPatience) {
    starved_since_ = 0;
    try {
      add_executor();
      return true;
    } catch (const std::exception&) {  // no more threads or streams: they wait
      most_executors_ = executors_.size();
    }
  }
  return false;
}

void RingThread::add_executor() {
  executors_.push_back(
      std::make_unique<Executor>(device_, wakeup_, options_.spin, static_cast<std::uint32_t>(executors_.size())));
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
  std::uint64_t until = next_deadline_;
  if (starved_since_ != 0)
    until = until == 0 ? starved_since_ + kPatience : std::min(until, starved_since_ + kPatience);
  wakeup_.sleep(until, has_work, [now](Queue& queue) { queue.unpark(now); });
}

}  // namespace ml::runtime
