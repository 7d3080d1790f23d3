// One queue as the ring thread sees it: takes its descriptors, keeps their order, answers them.
//
// A descriptor is looked at when it is taken: handles mean what they mean then, so what a FREE names is gone for
// everything behind it. It starts once the earlier ones that it is ordered behind are done: those that touch one of its
// handles, or all of them with AFTER.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "engine/runtime/fair_share.h"
#include "engine/runtime/poller.h"
#include "engine/runtime/queue_memory.h"
#include "engine/runtime/session.h"
#include "engine/runtime/task.h"
#include "engine/runtime/worker_ring.h"

namespace ml::runtime {

class RingThread;

struct QueueOptions {
  std::int32_t priority = 0;  // -1, 0, 1: a ready task of a higher one goes first, whoever's it is
  // Called once, on the ring thread, when the client has broken the rules: the queue is ended already.
  std::function<void(std::uint32_t fault)> faulted;
};

class Queue {
 public:
  Queue(RingThread& thread, Session& session, std::unique_ptr<QueueMemory> memory, QueueOptions options = {});
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  const QueueMemory& memory() const { return *memory_; }
  QueueMemory& memory() { return *memory_; }
  Session& session() const { return session_; }
  mlring_handle handle{};      // in the session's table
  Poller::Place poller_place;  // these two are the ring thread's
  FairShare::Place turn;       // for an executor
  FairShare::Place compile_turn;

  // Takes what is there, up to a batch, and to so many arguments. True: there was something.
  bool poll(std::uint64_t now);
  // Starts what may start now. True: there was something. Wanted once the queue has told the thread that it moved.
  bool settle();
  // Shows the client what was answered. Wanted then, too.
  void publish(std::uint64_t now);
  bool moved = false;  // the thread has been told

  // A task that came back from an executor or the compile thread.
  void come_back(Task& task, std::uint64_t now);
  // The next task for an executor or a compile thread, of which there is one.
  Task& give(FairShare::Place& place, std::uint64_t now);
  // Stops what is past its deadline, and says when to look again, or 0. The thread has been told of the earliest.
  std::uint64_t expire(std::uint64_t now);
  std::uint64_t next_deadline = 0;  // 0: none

  // Ends it for good: what has not started is dropped, what runs is stopped.
  void end(std::uint32_t state);
  bool ended() const { return ended_; }
  // Nothing of it is with another thread.
  bool drained() const { return away_ == 0; }
  // Ends it. `drained` is called when nothing of it is with another thread any more, and may destroy the queue.
  void close(std::uint32_t state, std::function<void()> drained);
  bool closing() const { return closing_; }

  std::uint32_t seen_tail() const { return ring_.seen_tail(); }
  // Parks it when it has been idle for so long; true when it is parked.
  bool park_if_idle(std::uint64_t now, std::uint64_t limit);
  void unpark(std::uint64_t now);

 private:
  void accept(const TakenDescriptor& taken, std::uint64_t now);
  // The task in flight with that sequence, or null.
  Task* find(std::uint64_t sequence);
  void remember(Task& task);
  void forget(const Task& task);
  // What a descriptor means, before it waits for anything. False: refused, the task says why.
  bool prepare(Task& task);
  bool prepare_execute(Task& task);
  bool prepare_free(Task& task);
  static bool prepare_wait(Task& task, const Queue* awaited);
  bool prepare_alloc(Task& task);
  // Puts the task behind the last one that touched the handle.
  void touch(Task& task, mlring_handle handle);

  // Goes on with a task that isn't in a list: it waits for something, or starts.
  void proceed(Task& task);
  void start(Task& task);
  void start_execute(Task& task);
  void start_wait(Task& task);
  // The queue that a WAIT names, or null.
  Queue* awaited_by(const Task& task) const;
  void cancel(Task& task);
  void make_ready(Task& task);
  void compile(Task& task);
  void wait_for_thread(Task& task, Task::Stage stage);
  TaskList& list_of(const FairShare::Place& place) { return &place == &turn ? ready_ : uncompiled_; }
  FairShare& share_of(const FairShare::Place& place);

  void end_if_faulted();
  void finish(Task& task);
  void finish(Task& task, std::int32_t status, std::string_view message = {});
  mlring_handle keep_result(Task& task);
  void count(const Task& task);
  bool in_flight(const Call::Before& before) const;
  bool wake_awaiting();

  RingThread& thread_;
  Session& session_;
  std::unique_ptr<QueueMemory> memory_;
  QueueOptions options_;
  WorkerRing ring_;
  std::vector<Task> tasks_;  // by slot
  // By the low bits of a sequence, the slot of a task in flight; the others with these bits follow by next_of_number.
  std::vector<std::uint32_t> numbers_;
  // Descriptors taken together; those from next_in_batch_ on are to be looked at.
  static constexpr std::size_t kBatch = 32;
  std::array<TakenDescriptor, kBatch> batch_;
  std::size_t next_in_batch_ = 0;
  std::size_t batch_size_ = 0;
  TaskList ready_;
  TaskList uncompiled_;
  TaskList after_;      // tasks with AFTER, oldest first
  TaskList unblocked_;  // to be gone on with
  TaskList waiting_;    // WAITs of this queue

  // By handle number, the last task that touched it.
  std::vector<Call::Before> last_touch_;
  std::multimap<std::uint64_t, Task*> awaited_by_;  // WAITs of any queue, by the sequence that they wait for
  std::uint32_t away_ = 0;                          // tasks with other threads
  std::uint64_t busy_ = 0;
  std::uint64_t last_active_ = 0;
  bool ended_ = false;
  bool closing_ = false;
  std::function<void()> when_drained_;  // of a queue that is being closed
  bool answered_ = false;
};

}  // namespace ml::runtime
