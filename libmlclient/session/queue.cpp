#include "libmlclient/session/queue.h"

#include <time.h>

#include <chrono>

#include "libmlclient/session/connection.h"
#include "libmlclient/session/message.h"
#include "libmlclient/session/storage.h"

namespace ml::client {
namespace {

// How long a thread sleeps at most before it looks whether another one has stopped reading for it.
constexpr std::chrono::milliseconds kLook{100};

std::uint64_t monotonic_now() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

// A worker that was heard of more recently is taken to be there.
constexpr std::uint64_t kSilence = 20'000'000;

std::uint64_t coarse_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace

void Pending::wait() const {
  if (done.load(std::memory_order_acquire)) return;
  // A connection that is gone has failed what was under way.
  if (const auto alive = connection.lock()) alive->queue().wait(*this);
}

void Pending::check() const {
  if (status < 0) throw error_from_message(status, message, MLRING_MESSAGE_PART);
}

void Queue::submit(const std::shared_ptr<Pending>& pending, mlring_descriptor descriptor) {
  Pending& p = *pending;
  descriptor.user_data = reinterpret_cast<std::uintptr_t>(&p);
  p.done.store(false, std::memory_order_relaxed);
  p.status = 0;
  p.self = pending;
  {
    const std::lock_guard lock(listing_);
    p.previous = nullptr;
    p.next = under_way_;
    if (under_way_ != nullptr) under_way_->previous = &p;
    under_way_ = &p;
  }
  std::unique_lock submitting(submitting_);
  while (!ended_.load(std::memory_order_relaxed) && !ring_.submit(descriptor)) {
    if (ring_.state() != transport::RingState::active) {
      submitting.unlock();
      end();
      submitting.lock();
      continue;
    }
    // Full: read completions, or let the thread that does make room.
    std::unique_lock reading(reading_, std::try_to_lock);
    if (reading.owns_lock()) {
      ring_.wait({.completions = 1, .deadline = monotonic_now() + 100'000'000, .long_work = true});
      read_completions();
      stop_reading(reading);
    } else {
      std::unique_lock handover(handover_);
      changed_.wait_for(handover, std::chrono::milliseconds(1));
    }
  }
  if (!ended_.load(std::memory_order_relaxed)) return;
  submitting.unlock();
  fail_all();
  wait(p);  // another thread may be failing it
  p.check();
}

bool Queue::wait_until(const Pending& pending, std::uint64_t deadline, bool long_work) {
  while (!pending.done.load(std::memory_order_acquire)) {
    if (deadline != UINT64_MAX && monotonic_now() >= deadline) return false;
    std::unique_lock reading(reading_, std::try_to_lock);
    if (!reading.owns_lock()) {
      std::unique_lock handover(handover_);
      changed_.wait_for(handover, kLook, [&] {
        if (pending.done.load(std::memory_order_acquire)) return true;
        return reading.try_lock();  // nobody reads: do it
      });
      if (!reading.owns_lock()) continue;
      handover.unlock();
    }
    while (!pending.done.load(std::memory_order_acquire)) {
      const bool more = ring_.wait({.completions = 1, .deadline = deadline, .long_work = long_work});
      read_completions();
      if (more || pending.done.load(std::memory_order_acquire)) continue;
      if (ring_.state() == transport::RingState::active) break;  // the deadline
      end_as_reader();
    }
    stop_reading(reading);
  }
  return true;
}

void Queue::wait(const Pending& pending, bool long_work) { wait_until(pending, UINT64_MAX, long_work); }

void Queue::poll() {
  std::unique_lock reading(reading_, std::try_to_lock);
  if (!reading.owns_lock()) return;
  read_completions();
  if (lost()) end_as_reader();
  stop_reading(reading);
}

bool Queue::lost() {
  if (ended_.load(std::memory_order_acquire)) return true;
  if (const std::uint64_t now = coarse_now(); now - heard_.load(std::memory_order_relaxed) > kSilence) {
    heard_.store(now, std::memory_order_relaxed);
    ring_.look_for_life();
  }
  return ring_.state() != transport::RingState::active;
}

void Queue::end() {
  std::unique_lock reading(reading_);  // who reads wakes up with the end of the ring
  end_as_reader();
  stop_reading(reading);
}

void Queue::end_as_reader() {
  {
    const std::lock_guard submitting(submitting_);
    if (!ended_.load(std::memory_order_relaxed)) read_completions();  // what came before the end
    ended_.store(true, std::memory_order_release);
  }
  fail_all();
}

// Somebody who waits takes over.
void Queue::stop_reading(std::unique_lock<std::mutex>& reading) {
  reading.unlock();
  const std::lock_guard handover(handover_);
  changed_.notify_all();
}

void Queue::drain() {
  while (true) {
    std::shared_ptr<Pending> oldest;
    {
      const std::lock_guard lock(listing_);
      if (under_way_ == nullptr) return;
      oldest = under_way_->self;
    }
    wait(*oldest);
  }
}

void Queue::read_completions() {
  transport::Completion completion;
  bool any = false;
  if (ended_.load(std::memory_order_relaxed)) return;
  while (ring_.poll(completion, &message_)) {
    Pending& pending = *reinterpret_cast<Pending*>(static_cast<std::uintptr_t>(completion.entry.user_data));
    pending.status = completion.entry.status;
    pending.result = completion.entry.result;
    pending.bytes = completion.entry.bytes;
    if (pending.status != 0) pending.message = message_;
    std::shared_ptr<Pending> self;
    {
      const std::lock_guard lock(listing_);
      self = unlist(pending);
    }
    finish(pending);
    any = true;
  }
  if (!any) return;
  heard_.store(coarse_now(), std::memory_order_relaxed);
  const std::lock_guard handover(handover_);
  changed_.notify_all();
}

// Takes it from the list, and what kept it alive with it. Hold listing_.
std::shared_ptr<Pending> Queue::unlist(Pending& pending) {
  if (pending.previous != nullptr) pending.previous->next = pending.next;
  if (pending.next != nullptr) pending.next->previous = pending.previous;
  if (under_way_ == &pending) under_way_ = pending.next;
  return std::move(pending.self);
}

void Queue::finish(Pending& pending) {
  std::vector<std::shared_ptr<Storage>> uses;
  if (!pending.prepared) uses = std::move(pending.uses);
  // What was computed from something that failed has failed for the same reason.
  for (const std::shared_ptr<Storage>& use : uses) {
    if (pending.status < 0) break;
    if (const auto before = use->pending(); before && before.get() != &pending && before->done && before->status < 0) {
      pending.status = before->status;
      pending.message = before->message;
    }
  }
  pending.done.store(true, std::memory_order_release);
}

std::string Queue::why_it_ended() const {
  constexpr const char* kAll = ", and with it everything that was computed there";
  std::string text = "the worker is gone";
  if (ring_.state() == transport::RingState::closed) text = "the daemon has ended this session";
  if (ring_.state() == transport::RingState::faulted)
    text = std::string("the queue is broken (") + mlring_fault_text(ring_.fault()) + ")";
  return text + kAll + MLRING_MESSAGE_PART + MLRING_MESSAGE_PART + hint_;
}

void Queue::fail_all() {
  while (true) {
    std::shared_ptr<Pending> first;
    {
      const std::lock_guard lock(listing_);
      if (under_way_ == nullptr) break;
      first = unlist(*under_way_);
    }
    first->status = -static_cast<std::int32_t>(Code::device_lost);
    first->message = why_it_ended();
    // Or it is not quite gone yet, and still writes what it was asked for.
    for (const std::shared_ptr<Storage>& use : first->uses) use->forsake();
    finish(*first);
  }
  const std::lock_guard handover(handover_);
  changed_.notify_all();
}

}  // namespace ml::client
