// The thread that answers: it polls the rings, orders descriptors, hands work to executors and compile threads, and
// writes completions. It never computes and never compiles, so a queue's NOP never waits for another's training step.
//
// While something happens it polls. A ring without work is parked after a while (poller.h); when all are, the thread
// sleeps until a doorbell, an executor or a control call wakes it. A turn of its loop costs what the queues cost that
// are awake or have moved: those that do nothing are in none of its lists.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "engine/runtime/event_bell.h"
#include "engine/runtime/event_source.h"
#include "engine/runtime/memory_budget.h"
#include "engine/runtime/poller.h"
#include "engine/runtime/preemption.h"
#include "engine/runtime/queue.h"
#include "engine/runtime/reaper.h"
#include "engine/runtime/task_threads.h"
#include "engine/runtime/wakeup.h"

namespace ml::runtime {

struct ThreadOptions {
  std::uint32_t executors = 1;
  std::uint64_t spin = 0;  // ns that an idle executor polls
  std::uint64_t park = 0;  // ns that an idle ring is polled
  std::vector<PreemptionPage*> preemption;
  PreemptionRole role = PreemptionRole::serving;
  std::span<std::uint64_t> running;
  std::shared_ptr<MemoryBudget> memory;
  std::shared_ptr<Tuner> tuner;
  EventSource* events = nullptr;
};

class RingThread {
 public:
  RingThread(Device& device, const ThreadOptions& options);
  ~RingThread();  // every session has been destroyed
  RingThread(const RingThread&) = delete;
  RingThread& operator=(const RingThread&) = delete;

  // From any other thread: runs `attempt` on the ring thread, again and again until it answers true or throws, which is
  // rethrown here.
  void call(const std::function<bool()>& attempt);
  // From any thread, without waiting: runs `action` once on the ring thread. It must not throw.
  void post(std::function<void()> action);
  // Any thread.
  void free(std::unique_ptr<Queue> queue) { reaper_.free(std::move(queue)); }
  void free(std::unique_ptr<Session> session) { reaper_.free(std::move(session)); }
  void free(std::unique_ptr<Arena> arena) { reaper_.free(std::move(arena)); }
  // What rings eventfds of other processes; made by the first call, any thread. Ringing is for the ring thread.
  EventBell& bell();

  PreemptionGate::Counts preemptions() const { return gate_ ? gate_->counts() : PreemptionGate::Counts{}; }

  Counter busy_ns;  // of all executors since the worker began

  // From here on: for the ring thread alone.
  Device& device() const { return device_; }
  void add_queue(Queue& queue);
  void remove_queue(Queue& queue);
  void note_deadline(Queue& queue, std::uint64_t deadline);
  void note_moved(Queue& queue) {
    if (!queue.moved) moved_.push_back(&queue);
    queue.moved = true;
  }
  Poller& poller() { return poller_; }
  TaskThreads& executors() { return executors_; }
  TaskThreads& compilers() { return compilers_; }
  Call* acquire_call();
  void release_call(Call* call);

 private:
  struct ControlCall;

  void run();
  bool collect(std::uint64_t now);
  bool dispatch(std::uint64_t now);
  std::unique_ptr<TaskThread> make_executor(std::size_t number);
  std::unique_ptr<TaskThread> make_compiler(std::size_t number);
  void settle();
  void publish(std::uint64_t now);
  bool run_control_calls();
  bool expire(std::uint64_t now);
  void sleep(std::uint64_t now);
  void take_events(std::uint64_t now);

  Device& device_;
  ThreadOptions options_;
  Reaper reaper_;
  std::once_flag bell_made_;
  std::unique_ptr<EventBell> bell_;
  Wakeup wakeup_;
  std::unique_ptr<PreemptionGate> gate_;  // of a training worker
  Demand demand_;                         // of a serving worker
  TaskThreads executors_;
  TaskThreads compilers_;

  Poller poller_;
  std::size_t queues_ = 0;
  std::uint64_t events_taken_ = 0;
  std::vector<Queue*> moved_;           // something to settle or to publish
  std::vector<Queue*> with_deadlines_;  // those whose next_deadline isn't 0
  std::uint64_t next_deadline_ = 0;     // the earliest of them
  std::vector<std::unique_ptr<Call>> calls_;
  std::vector<Call*> free_calls_;

  std::mutex control_mutex_;
  std::condition_variable control_done_;
  std::vector<ControlCall*> new_calls_;
  std::vector<std::function<void()>> new_actions_;
  std::atomic<bool> control_pending_{false};
  std::vector<ControlCall*> control_calls_;  // the ring thread's
  std::vector<std::function<void()>> actions_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace ml::runtime
