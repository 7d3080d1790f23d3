#include "engine/runtime/poller.h"

#include <algorithm>

#include "engine/runtime/queue.h"

namespace ml::runtime {
namespace {

// In which time every parked ring is looked at once, ns. Their tails lie in pages of their own, so that each costs a
// miss of the nearer caches: a thousand of them in this time are a few percent of the thread.
constexpr std::uint64_t kRound = 1'000'000;
// Those that were parked last are the likeliest to have work; they are looked at each so many turns.
constexpr std::uint32_t kRecentInterval = 16;

}  // namespace

void Poller::add(Queue& queue) {
  ++queues_;
  awake_.reserve(queues_);
  parked_.reserve(queues_);
  queue.poller_place = {Place::In::awake, awake_.size()};
  awake_.push_back(&queue);
}

void Poller::remove(Queue& queue) {
  take_out(queue);
  std::ranges::replace(recent_, &queue, nullptr);
  --queues_;
}

void Poller::take_out(Queue& queue) {
  const Place place = queue.poller_place;
  if (place.in == Place::In::awake) {
    awake_[place.index] = awake_.back();
    awake_[place.index]->poller_place.index = place.index;
    awake_.pop_back();
  } else if (place.in == Place::In::parked) {
    parked_[place.index] = parked_.back();
    parked_[place.index].queue->poller_place.index = place.index;
    parked_.pop_back();
  }
  queue.poller_place = {};
}

void Poller::park(Queue& queue) {
  take_out(queue);
  queue.poller_place = {Place::In::parked, parked_.size()};
  parked_.push_back({&queue.memory().worker_pages().submission->tail, queue.seen_tail(), &queue});
  recent_[next_recent_] = &queue;
  next_recent_ = (next_recent_ + 1) % kRecent;
}

void Poller::woke(Queue& queue) {
  if (queue.poller_place.in != Place::In::parked) return;
  take_out(queue);
  queue.poller_place = {Place::In::awake, awake_.size()};
  awake_.push_back(&queue);
}

bool Poller::poll(std::uint64_t now) {
  bool any = false;
  // Polling may wake a queue, which then stands at the end.
  for (std::size_t i = 0; i < awake_.size(); ++i) any |= awake_[i]->poll(now);
  if (!parked_.empty()) any |= look_at_parked(now);
  return any;
}

bool Poller::look_at(const Parked& parked, std::uint64_t now) {
  return __atomic_load_n(parked.tail, __ATOMIC_RELAXED) != parked.seen && parked.queue->poll(now);
}

bool Poller::look_at_parked(std::uint64_t now) {
  bool any = false;
  if (++turn_ % kRecentInterval == 0) {
    for (Queue* queue : recent_) {
      if (queue != nullptr && queue->poller_place.in == Place::In::parked)
        any |= look_at(parked_[queue->poller_place.index], now);
    }
  }
  const std::uint64_t due = std::min<std::uint64_t>((now - looked_) * parked_.size() / kRound, parked_.size());
  if (due == 0) return any;
  looked_ = now;
  for (std::uint64_t i = 0; i < due && !parked_.empty(); ++i) {
    next_parked_ = next_parked_ + 1 < parked_.size() ? next_parked_ + 1 : 0;
    any |= look_at(parked_[next_parked_], now);
  }
  return any;
}

bool Poller::park_idle(std::uint64_t now, std::uint64_t limit) {
  for (std::size_t i = awake_.size(); i-- > 0;) {
    Queue& queue = *awake_[i];
    if (queue.ended())
      take_out(queue);
    else if (queue.park_if_idle(now, limit))
      park(queue);
  }
  return awake_.empty();
}

}  // namespace ml::runtime
