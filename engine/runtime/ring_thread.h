// The thread that answers: it polls the rings, orders descriptors, hands work to executors and the compile thread, and
// writes completions. It never computes and never compiles, so a queue's NOP never waits for another's training step.
//
// While something happens it polls. A ring without work is parked after a while; when all are, the thread sleeps until
// a doorbell, an executor or a control call wakes it. Between sleeps, parked rings are looked at now and then, so no
// doorbell has to be read while it is awake.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/runtime/compile_thread.h"
#include "engine/runtime/event_bell.h"
#include "engine/runtime/executor.h"
#include "engine/runtime/queue.h"
#include "engine/runtime/reaper.h"
#include "engine/runtime/wakeup.h"

namespace ml::runtime {

struct ThreadOptions {
  std::uint32_t executors = 1;
  std::uint64_t spin = 0;  // ns that an idle executor polls
  std::uint64_t park = 0;  // ns that an idle ring is polled
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

  // From here on: for the ring thread alone.
  Device& device() const { return device_; }
  void add_queue(Queue& queue);
  void remove_queue(Queue& queue);
  void note_deadline(std::uint64_t deadline);
  void compile(Task& task) { compiler_.hand_over(task); }
  Call* acquire_call();
  void release_call(Call* call);

 private:
  struct ControlCall;

  void run();
  bool poll_queues(std::uint64_t now);
  bool collect();
  bool dispatch(std::uint64_t now);
  Executor* executor_for(const Queue& queue);
  bool relieve(std::uint64_t now);
  void add_executor();
  void settle();
  bool run_control_calls();
  bool expire(std::uint64_t now);
  bool park_idle(std::uint64_t now);
  void sleep(std::uint64_t now);

  Device& device_;
  ThreadOptions options_;
  Reaper reaper_;
  std::once_flag bell_made_;
  std::unique_ptr<EventBell> bell_;
  Wakeup wakeup_;
  std::vector<std::unique_ptr<Executor>> executors_;
  std::size_t most_executors_;
  std::uint64_t starved_since_ = 0;  // 0: no queue waits for an executor
  CompileThread compiler_;

  std::vector<Queue*> queues_;
  std::vector<std::unique_ptr<Call>> calls_;
  std::vector<Call*> free_calls_;
  std::size_t next_queue_ = 0;  // whose turn it is to be given an executor
  std::uint32_t turn_ = 0;
  std::uint64_t next_deadline_ = 0;  // 0: none

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
