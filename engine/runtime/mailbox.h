// Handing things from one thread to another without locks, and sleeping until something comes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ml::runtime {

// A queue of fixed capacity between one thread that puts and one that takes.
template <class T, std::uint32_t capacity>
class Mailbox {
  static_assert((capacity & (capacity - 1)) == 0);

 public:
  bool put(T item) {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) == capacity) return false;
    items_[tail & (capacity - 1)] = item;
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }
  bool take(T& item) {
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_acquire)) return false;
    item = items_[head & (capacity - 1)];
    head_.store(head + 1, std::memory_order_release);
    return true;
  }
  // For the taker.
  bool empty() const { return head_.load(std::memory_order_relaxed) == tail_.load(std::memory_order_acquire); }

 private:
  std::array<T, capacity> items_{};
  alignas(128) std::atomic<std::uint32_t> tail_{0};
  alignas(128) std::atomic<std::uint32_t> head_{0};
};

// Says whether its owner sleeps. The sleeper announces itself, looks once more and sleeps; the waker publishes its work
// and asks. Both go through read-modify-writes of one word, so one of the two always sees the other.
class SleepFlag {
 public:
  void announce() { word_.exchange(1, std::memory_order_acq_rel); }
  void clear() { word_.store(0, std::memory_order_relaxed); }
  // True for one waker only: it must wake the owner.
  bool claim() {
    if (word_.fetch_add(0, std::memory_order_acq_rel) == 0) return false;
    return word_.exchange(0, std::memory_order_acq_rel) == 1;
  }

 protected:
  std::atomic<std::uint32_t> word_{0};
};

// A sleep flag whose owner sleeps on the word itself.
class Sleeper : private SleepFlag {
 public:
  // Sleeps until wake(), unless ready() says that there is work already. May come back for nothing.
  template <class Ready>
  void sleep(Ready ready) {
    announce();
    if (!ready()) wait_while_set();
    clear();
  }
  // Behind publishing work; a system call only when the owner sleeps.
  void wake() {
    if (claim()) notify();
  }

 private:
  void wait_while_set();
  void notify();
};

}  // namespace ml::runtime
