// A worker: one device, the threads that serve it, and the sessions of its clients. The embedded transport and the
// daemon's worker process are both this.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "engine/runtime/memory_budget.h"
#include "engine/runtime/preemption.h"
#include "engine/runtime/queue_memory.h"
#include "engine/runtime/ring_thread.h"
#include "engine/runtime/session.h"

namespace ml::runtime {

struct WorkerOptions {
  std::uint32_t executors = 1;
  // How long an idle executor polls after short work, and an idle ring is polled; ns. Defaults follow from how many
  // CPUs there are: polling threads must not push working ones aside.
  static constexpr std::uint64_t kByCpus = ~std::uint64_t{0};
  std::uint64_t spin = kByCpus;
  std::uint64_t park = kByCpus;

  // Of all sessions together: memory behind handles, packed weights, intermediate values.
  std::uint64_t memory_bytes = ~std::uint64_t{0};
  // What this worker shares with the others of each of its devices, and what it is: see preemption.h. None: it shares
  // its devices with nobody. The pages stay the caller's, and mapped.
  std::vector<PreemptionPage*> preemption;
  PreemptionRole role = PreemptionRole::serving;
  // Where each thread says for which session (SessionLimits::number) it works, so that somebody else can tell when the
  // process has died: executors from the front, compile threads from the end. At least 16 entries, or none.
  std::span<std::uint64_t> running;
  // Tells of queues without eventfds; outlives the worker. May be null.
  EventSource* events = nullptr;
  // Chooses the kernels of its programs, on its device; null: the device's table does.
  std::shared_ptr<Tuner> tuner;
};

// All functions may be called from any thread but the ring thread; each session and queue is destroyed once.
class Worker {
 public:
  explicit Worker(std::unique_ptr<Device> device, const WorkerOptions& options = {});
  ~Worker();  // queues that are left go to MLRING_STATE_LOST
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  Device& device() const { return *device_; }

  Session& create_session(const SessionLimits& limits = {});
  void destroy_session(Session& session);

  // A queue in memory of either kind. Throws no_space when the session has as many as it may.
  Queue& attach_queue(Session& session, std::unique_ptr<QueueMemory> memory, QueueOptions options = {});
  // Ends it and comes back when nothing of it runs any more; the client's mapping stays the client's.
  void destroy_queue(Queue& queue);

  // Answers the arena's number; `base` is a multiple of 64. Comes back from removing when nothing uses it any more.
  std::uint32_t add_arena(Session& session, void* base, std::uint64_t bytes);
  void remove_arena(Session& session, std::uint32_t arena);
  // An arena that descriptors may only read: a private mapping of a file, from the beginning of a page on, that nobody
  // writes. What COMPILE takes from it is not copied; programs hold `mapping` instead.
  std::uint32_t add_file(Session& session, void* base, std::uint64_t bytes, std::shared_ptr<const void> mapping);

  // For a worker process, whose control thread must never wait for a client's work ------------------------------------

  // `closed` is called on the ring thread when nothing of it runs any more; it must not throw, and neither queue nor
  // session may be named from the call on. A session's queues are closed with it.
  void close_queue(Queue& queue, std::function<void()> closed);
  void close_session(Session& session, std::function<void()> closed);
  // An arena in a mapping that it takes over, also when it throws: unmapped when the arena has been removed and its
  // last use is over. Nobody waits.
  std::uint32_t add_mapped_arena(Session& session, void* base, std::uint64_t bytes);
  void remove_mapped_arena(Session& session, std::uint32_t arena);  // throws not_found
  // A handle of a program that was loaded outside of any queue; sessions share the program and its packed weights.
  // Throws no_space when the session's handles are used up.
  mlring_handle add_program(Session& session, std::shared_ptr<Program> program);
  // From now on it counts the session's memory too.
  void set_ledger(Session& session, std::shared_ptr<DeviceLedger> ledger);
  // What programs count their memory in.
  const std::shared_ptr<MemoryBudget>& memory() const { return memory_; }
  // The user's share of device time, in proportion to the other users' that have work. Sessions name their user in
  // SessionLimits.
  void set_weight(std::uint32_t user, std::uint32_t weight);
  struct SessionUse {
    std::uint64_t busy_ns, compile_ns, device_bytes, arena_bytes, executions, failures;
  };
  static SessionUse use_of(const Session& session);
  // Of all sessions since the worker began.
  std::uint64_t busy_ns() const { return thread_->busy_ns.get(); }
  PreemptionGate::Counts preemptions() const { return thread_->preemptions(); }

 private:
  void close(Queue& queue, std::uint32_t state, std::function<void()> closed);
  void close(Session& session, std::uint32_t state, std::function<void()> closed);
  void finish_closing(Session& session);
  std::unique_ptr<Queue> take_out(Queue& queue);
  std::unique_ptr<Session> forget(Session& session);
  std::vector<Session*> all_sessions();
  std::uint32_t add_arena(Session& session, std::unique_ptr<Arena> arena);

  std::unique_ptr<Device> device_;
  std::shared_ptr<MemoryBudget> memory_;
  std::unique_ptr<RingThread> thread_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::map<std::uint32_t, std::weak_ptr<UserBytes>> user_bytes_;  // of users that have sessions
};

}  // namespace ml::runtime
