// Which rings the ring thread looks at. Awake ones in each turn; parked ones cost nothing while the thread sleeps, as
// their doorbells wake it, and next to nothing while it is awake for others: nobody reads a doorbell then, but a few of
// their tails are looked at in turn.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ml::runtime {

class Queue;

class Poller {
 public:
  // A queue's place in here; a member of the queue.
  struct Place {
    enum class In : std::uint8_t { nowhere, awake, parked };
    In in = In::nowhere;
    std::size_t index = 0;
  };

  // Queues begin awake. Allocates, so that nothing below does.
  void add(Queue& queue);
  void remove(Queue& queue);

  // Takes what is there. True: there was something.
  bool poll(std::uint64_t now);
  // The queue isn't parked any more.
  void woke(Queue& queue);
  // Parks what has been idle for so long, and drops what has ended. True: nothing is awake.
  bool park_idle(std::uint64_t now, std::uint64_t limit);
  // Doorbells have been listened to until now.
  void slept(std::uint64_t now) { looked_ = now; }

 private:
  // Lies in a row with the others: looking at one touches no queue.
  struct Parked {
    const std::uint32_t* tail;
    std::uint32_t seen;
    Queue* queue;
  };
  static constexpr std::size_t kRecent = 8;

  bool look_at_parked(std::uint64_t now);
  bool look_at(const Parked& parked, std::uint64_t now);
  void park(Queue& queue);
  void take_out(Queue& queue);

  std::vector<Queue*> awake_;
  std::vector<Parked> parked_;
  std::array<Queue*, kRecent> recent_{};  // that were parked last, some of them awake again
  std::size_t next_recent_ = 0;
  std::size_t next_parked_ = 0;
  std::uint32_t turn_ = 0;
  std::uint64_t looked_ = 0;  // when the last parked ring was looked at in turn
  std::size_t queues_ = 0;
};

}  // namespace ml::runtime
