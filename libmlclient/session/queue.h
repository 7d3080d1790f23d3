// One queue used by any number of threads: whoever waits reads completions, for itself and for the others.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "libmlclient/session/arena.h"
#include "libmlclient/transport/client_ring.h"
#include "ml/error.h"

namespace ml::client {

class Connection;
class Storage;

// A descriptor under way, and what must live until it is done. May be submitted again once it is.
struct Pending {
  explicit Pending(std::weak_ptr<Connection> submitted_to) : connection(std::move(submitted_to)) {}

  const std::weak_ptr<Connection> connection;  // what it is submitted to
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
  // Blocks until it is done.
  void wait() const;
};

class Queue {
 public:
  // `hint`: what to do when it ends.
  Queue(transport::ClientRing& ring, std::string hint) : ring_(ring), hint_(std::move(hint)) {}
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Submits `descriptor` (its user_data is filled in); waits for completions when the ring is full. Throws device_lost
  // when the queue has ended; then nothing is under way. Neither allocates nor calls the system while the worker is
  // awake.
  void submit(const std::shared_ptr<Pending>& pending, mlring_descriptor descriptor);
  // Blocks until it is done.
  void wait(const Pending& pending, bool long_work = true);
  // The same until CLOCK_MONOTONIC reaches `deadline` (ns); false when it is not done by then.
  bool wait_until(const Pending& pending, std::uint64_t deadline, bool long_work = true);
  // Reads what has completed, without blocking.
  void poll();
  // Blocks until everything submitted so far is done.
  void drain();
  // The worker is gone. Asks the system only when nothing has been heard of it for a while.
  bool lost();
  // Fails what is under way: nothing is submitted or answered from now on.
  void end();

 private:
  void end_as_reader();
  void read_completions();
  void stop_reading(std::unique_lock<std::mutex>& reading);
  std::shared_ptr<Pending> unlist(Pending& pending);
  void finish(Pending& pending);
  void fail_all();
  std::string why_it_ended() const;

  transport::ClientRing& ring_;
  const std::string hint_;
  std::atomic<bool> ended_{false};       // set while nobody submits or reads
  std::atomic<std::uint64_t> heard_{0};  // when something completed, or the system was asked; coarse ns
  std::mutex submitting_;
  std::mutex reading_;  // held by the thread that reads completions
  std::mutex handover_;
  std::condition_variable changed_;  // something completed, or nobody reads any more
  std::mutex listing_;
  Pending* under_way_ = nullptr;
  std::string message_;  // the reader's
};

}  // namespace ml::client
