#include "engine/runtime/ring_thread.h"

#include <pthread.h>

#include <algorithm>
#include <exception>

#include "engine/runtime/clock.h"

namespace ml::runtime {
namespace {

// How long a task runs before one more executor takes the place of its own, ns, and how many more there may be.
constexpr std::uint64_t kPatience = 10'000'000;
constexpr std::size_t kRelief = 48;
// How many tasks of one user may run for so long side by side.
constexpr std::size_t kLongOfOneUser = 8;
// A queue whose tasks are shorter gets its next one onto the executor behind the one that runs, so that there is no gap
// between them; whoever comes meanwhile waits for one more of them.
constexpr std::uint64_t kShort = 1'000'000;

}  // namespace

struct RingThread::ControlCall {
  const std::function<bool()>& attempt;
  std::exception_ptr error;
  bool done = false;
};

RingThread::RingThread(Device& device, const ThreadOptions& options)
    : device_(device), options_(options), most_executors_(options.executors + kRelief), compiler_(device, wakeup_) {
  for (std::uint32_t i = 0; i < options.executors; ++i) {
    executors_.push_back(std::make_unique<Executor>(device_, wakeup_, options_.spin, i));
  }
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
  ++queues_;
  moved_.reserve(queues_);
  with_deadlines_.reserve(queues_);
  poller_.add(queue);
  fair_share_.join(queue.turn, queue.session().limits.user);
}

void RingThread::remove_queue(Queue& queue) {
  wakeup_.remove(queue.memory().doorbell_fd());
  fair_share_.leave(queue.turn);
  poller_.remove(queue);
  std::erase(moved_, &queue);
  std::erase(with_deadlines_, &queue);
  --queues_;
}

void RingThread::note_deadline(Queue& queue, std::uint64_t deadline) {
  if (queue.next_deadline == 0) with_deadlines_.push_back(&queue);
  queue.next_deadline = deadline;
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
    bool busy = poller_.poll(now);
    busy |= collect(now);
    busy |= run_control_calls();
    busy |= expire(now);
    settle();
    busy |= dispatch(now);
    publish(now);
    if (busy) continue;
    if (poller_.park_idle(now, options_.park))
      sleep(now);
    else
      relax();
  }
}

bool RingThread::collect(std::uint64_t now) {
  bool any = false;
  for (const std::unique_ptr<Executor>& executor : executors_) {
    while (Task* task = executor->take_back(now)) {
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
  for (bool any = true; any;) {
    any = false;
    for (std::size_t i = 0; i < moved_.size(); ++i) any |= moved_[i]->settle();
  }
}

void RingThread::publish(std::uint64_t now) {
  for (Queue* queue : moved_) {
    queue->moved = false;
    queue->publish(now);
  }
  moved_.clear();
}

// As long as there is an executor for the task that is next: nobody else's goes before it.
bool RingThread::dispatch(std::uint64_t now) {
  bool any = false;
  while (FairShare::Place* next = fair_share_.next()) {
    Executor* executor = executor_for(*next->queue, now);
    if (executor == nullptr && next->user->held_back) continue;
    if (executor == nullptr) break;
    any = true;
    executor->hand_over(next->queue->give_ready(), now);
  }
  return any;
}

// A free one, or the one that works for this queue already: nobody waits behind another's plan. A plan may run for
// long, or for ever: one that has run for a while doesn't count as working any more, so that one more executor takes
// its place. So many plans of one user hold back only that user.
Executor* RingThread::executor_for(const Queue& queue, std::uint64_t now) {
  Executor* idle = nullptr;
  Executor* own = nullptr;
  std::size_t working = 0, long_of_user = 0;
  for (const std::unique_ptr<Executor>& executor : executors_) {
    if (executor->outstanding() == 0) {
      if (idle == nullptr) idle = executor.get();
      continue;
    }
    if (now - executor->since() < kPatience)
      ++working;
    else if (executor->user() == queue.turn.user)
      ++long_of_user;
    if (executor->serves(queue) && executor->outstanding() < Executor::kDepth) own = executor.get();
  }
  if (long_of_user == kLongOfOneUser) {
    FairShare::hold_back(*queue.turn.user);
    return nullptr;
  }
  if (working < options_.executors) {
    if (idle != nullptr) return idle;
    if (executors_.size() < most_executors_ && add_executor()) return executors_.back().get();
  }
  return queue.turn.usual < kShort ? own : nullptr;
}

bool RingThread::add_executor() {
  try {
    executors_.push_back(
        std::make_unique<Executor>(device_, wakeup_, options_.spin, static_cast<std::uint32_t>(executors_.size())));
    return true;
  } catch (const std::exception&) {  // no more threads or streams: they wait
    most_executors_ = executors_.size();
    return false;
  }
}

bool RingThread::expire(std::uint64_t now) {
  if (next_deadline_ == 0 || now < next_deadline_) return false;
  next_deadline_ = 0;
  std::erase_if(with_deadlines_, [this, now](Queue* queue) {
    if (queue->next_deadline <= now) queue->next_deadline = queue->expire(now);
    if (queue->next_deadline == 0) return true;
    next_deadline_ = next_deadline_ == 0 ? queue->next_deadline : std::min(next_deadline_, queue->next_deadline);
    return false;
  });
  return true;
}

// When a task that waits gets an executor though none has come free; 0: none waits.
std::uint64_t RingThread::next_relief(std::uint64_t now) const {
  if (!fair_share_.anybody_waits() || executors_.size() == most_executors_) return 0;
  std::uint64_t next = 0;
  for (const std::unique_ptr<Executor>& executor : executors_) {
    const std::uint64_t until = executor->since() + kPatience;
    if (executor->outstanding() != 0 && until > now) next = next == 0 ? until : std::min(next, until);
  }
  return next;
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
  for (const std::uint64_t other : {next_relief(now)}) {
    if (other != 0) until = until == 0 ? other : std::min(until, other);
  }
  wakeup_.sleep(until, has_work);
  const std::uint64_t awake = monotonic_now();
  poller_.slept(awake);
  wakeup_.take_rung([awake](Queue& queue) { queue.unpark(awake); });
}

}  // namespace ml::runtime
