#include "engine/runtime/ring_thread.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <string>

#include "engine/runtime/clock.h"
#include "engine/runtime/run_task.h"

namespace ml::runtime {
namespace {

// How long a plan runs before one more executor takes the place of its own, ns, how many more there may be, and how
// many such plans of one user.
constexpr std::uint64_t kExecutorPatience = 10'000'000;
constexpr std::size_t kMoreExecutors = 48;
constexpr std::size_t kLongPlans = 8;
constexpr std::uint64_t kShortPlan = 1'000'000;
// The same for compilations.
constexpr std::uint64_t kCompilePatience = 100'000'000;
constexpr std::size_t kCompileThreads = 4;
constexpr int kCompileNiceness = 10;
// A thread that has too much to do to sleep looks at other events this often, ns.
constexpr std::uint64_t kEventInterval = 250'000'000;

TaskThreadsOptions executor_options(const ThreadOptions& options) {
  std::size_t most = options.executors + kMoreExecutors;
  if (!options.running.empty()) most = std::min(most, options.running.size() - kCompileThreads);
  return {options.executors, most, kLongPlans, kExecutorPatience, kShortPlan};
}

}  // namespace

struct RingThread::ControlCall {
  const std::function<bool()>& attempt;
  std::exception_ptr error;
  bool done = false;
};

RingThread::RingThread(Device& device, const ThreadOptions& options)
    : device_(device),
      options_(options),
      gate_(!options.preemption.empty() && options.role == PreemptionRole::training
                ? std::make_unique<PreemptionGate>(options.preemption)
                : nullptr),
      demand_(options.role == PreemptionRole::serving ? options.preemption : std::vector<PreemptionPage*>{}),
      executors_(executor_options(options), [this](std::size_t number) { return make_executor(number); }),
      compilers_({1, kCompileThreads, 1, kCompilePatience, 0},
                 [this](std::size_t number) { return make_compiler(number); }) {
  if (options_.events != nullptr) wakeup_.watch(options_.events->fd());
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "ml-ring");
}

std::unique_ptr<TaskThread> RingThread::make_executor(std::size_t number) {
  const auto context = std::make_shared<StreamContext>(device_, gate_.get(), options_.memory);
  return std::make_unique<TaskThread>(
      [context](Task& task) { run_task(task, *context); }, wakeup_,
      TaskThreadOptions{.name = "ml-exec-" + std::to_string(number),
                        .spin = options_.spin,
                        .running = options_.running.empty() ? nullptr : &options_.running[number],
                        .idle = [this] { return device_.work_while_idle(); }});
}

std::unique_ptr<TaskThread> RingThread::make_compiler(std::size_t number) {
  std::uint64_t* running = options_.running.empty() ? nullptr : &options_.running[options_.running.size() - 1 - number];
  return std::make_unique<TaskThread>(
      [this](Task& task) { compile_task(task, device_, options_.memory, options_.tuner); }, wakeup_,
      TaskThreadOptions{
          .name = "ml-compile-" + std::to_string(number), .niceness = kCompileNiceness, .running = running});
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
  if (const int doorbell = queue.memory().doorbell_fd(); doorbell >= 0) wakeup_.add(queue, doorbell);
  ++queues_;
  moved_.reserve(queues_);
  with_deadlines_.reserve(queues_);
  poller_.add(queue);
  queue.memory().heard_by(&queue);
  executors_.share().join(queue.turn, queue.session().limits.user);
  compilers_.share().join(queue.compile_turn, queue.session().limits.user);
}

void RingThread::remove_queue(Queue& queue) {
  queue.memory().heard_by(nullptr);
  if (const int doorbell = queue.memory().doorbell_fd(); doorbell >= 0) wakeup_.remove(doorbell);
  executors_.share().leave(queue.turn);
  compilers_.share().leave(queue.compile_turn);
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
  // What somebody has freed meanwhile goes with its last use.
  if (call->program.use_count() == 1) reaper_.free(std::move(call->program));
  for (std::shared_ptr<Memory>& memory : call->memories) {
    if (memory.use_count() == 1) reaper_.free(std::move(memory));
  }
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
    if (options_.events != nullptr && now - events_taken_ > kEventInterval) take_events(now);
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
  const auto come_back = [now](Task& task) { task.queue->come_back(task, now); };
  const bool executed = executors_.collect(now, come_back);
  return compilers_.collect(now, come_back) || executed;
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

bool RingThread::dispatch(std::uint64_t now) {
  const auto give = [now](FairShare::Place& place) -> Task& { return place.queue->give(place, now); };
  demand_.update(executors_.busy(), now);  // before they begin: the device is still all the sooner
  const bool executing = executors_.dispatch(now, give);
  return compilers_.dispatch(now, give) || executing;
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

void RingThread::sleep(std::uint64_t now) {
  const auto has_work = [this] {
    if (stop_.load(std::memory_order_acquire) || control_pending_.load(std::memory_order_acquire)) return true;
    return executors_.has_results() || compilers_.has_results();
  };
  std::uint64_t until = next_deadline_;
  for (const std::uint64_t other : {executors_.next_relief(now), compilers_.next_relief(now), demand_.next_update()}) {
    if (other != 0) until = until == 0 ? other : std::min(until, other);
  }
  wakeup_.sleep(until, has_work);
  const std::uint64_t awake = monotonic_now();
  poller_.slept(awake);
  wakeup_.take_rung([awake](Queue& queue) { queue.unpark(awake); });
  events_taken_ = awake;  // what comes wakes whoever sleeps
  if (wakeup_.take_watched()) take_events(awake);
}

void RingThread::take_events(std::uint64_t now) {
  events_taken_ = now;
  if (options_.events->take(now)) return;
  wakeup_.unwatch(options_.events->fd());
  options_.events = nullptr;
}

}  // namespace ml::runtime
