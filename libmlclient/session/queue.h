// One queue used by any number of threads: whoever waits reads completions, for itself and for the others.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libmlclient/session/arena.h"
#include "libmlclient/transport/client_ring.h"
#include "ml/error.h"

namespace ml::client {

class Storage;

// A descriptor under way, and what must live until it is done. May be submitted again once it is.
struct Pending {
  std::atomic<bool> done{true};
  std::int32_t status = 0;  // valid when done, like the next three
  mlring_handle result{};
  std::uint64_t bytes = 0;
  std::string message;

  std::vector<std::shared_ptr<Storage>> uses;  // dropped when done, unless `prepared`
  bool prepared = false;
  // While it is under way: what keeps it alive, and its place in the queue's list.
  std::shared_ptr<Pending> self;
  Pending* previous = nullptr;
  Pending* next = nullptr;

  // Throws what went wrong, if anything did. Only when done.
  void check() const;
};

class Queue {
 public:
  explicit Queue(transport::ClientRing& ring) : ring_(ring) {}
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Submits `descriptor` (its user_data is filled in); waits for completions when the ring is full. Throws device_lost
  // when the queue has ended. Neither allocates nor calls the system while the worker is awake.
  void submit(const std::shared_ptr<Pending>& pending, mlring_descriptor descriptor);
  // Blocks until it is done.
  void wait(const Pending& pending, bool long_work = true);
  // The same until CLOCK_MONOTONIC reaches `deadline` (ns); false when it is not done by then.
  bool wait_until(const Pending& pending, std::uint64_t deadline, bool long_work = true);
  // Reads what has completed, without blocking.
  void poll();
  // Blocks until everything submitted so far is done.
  void drain();

 private:
  void read_completions();
  void stop_reading(std::unique_lock<std::mutex>& reading);
  void finish(Pending& pending);
  void fail_all();

  transport::ClientRing& ring_;
  std::mutex submitting_;
  std::mutex reading_;  // held by the thread that reads completions
  std::mutex handover_;
  std::condition_variable changed_;  // something completed, or nobody reads any more
  std::mutex listing_;
  Pending* under_way_ = nullptr;
  std::string message_;  // the reader's
};

}  // namespace ml::client
