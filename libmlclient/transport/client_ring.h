// The client's end of one queue: submits descriptors, reads completions, sleeps. It allocates when it is made and never
// again (but for the text of an error), and makes a system call only to wake a parked worker or to sleep.
//
// It has two sides, submitting and completing, each used by one thread at a time; the two may be different threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernel/uapi/mlaccel_ring.h"
#include "libmlclient/transport/doorbell.h"

namespace ml::transport {

// The pages of a queue as the client maps them.
struct ClientPages {
  mlring_submission_header* submission;
  const mlring_completion_header* completion;
  const mlring_state* state;
  uint32_t depth;
};

// active: all is well. The others are for good.
enum class RingState { active, faulted, lost, closed };

// An answer. user_data is what was submitted, whatever the worker wrote.
struct Completion {
  uint64_t sequence;
  mlring_completion entry;
};

// How to wait. Spinning is worth it only for work of microseconds, and never happens when the thread
// that made the ring was bound to a single CPU: an embedded worker then shares it.
struct Wait {
  uint32_t completions = 1;        // until so many can be polled
  uint64_t deadline = UINT64_MAX;  // CLOCK_MONOTONIC ns
  bool long_work = false;          // don't spin
};

class ClientRing {
 public:
  // The doorbell wakes the worker, wake_fd is what the client sleeps on (an eventfd, non-blocking). life_fd, if any, is
  // a socket whose hang-up ends the queue: nobody is left then to say so in the state page. The caller keeps all open.
  // Throws ml::Error when the depth is not a power of two within bounds.
  ClientRing(const ClientPages& pages, Doorbell doorbell, int wake_fd, int life_fd = -1);
  ClientRing(const ClientPages& pages, int doorbell_fd, int wake_fd, int life_fd = -1)
      : ClientRing(pages, Doorbell(doorbell_fd), wake_fd, life_fd) {}

  // Submitting side -----------------------------------------------------------------------------------------------

  // How many descriptors submit() takes now: free completions.
  uint32_t credits() const { return depth_ - (submitted_index() - read_.load(std::memory_order_acquire)); }
  // The sequence that the next descriptor gets; each one behind it gets the next.
  uint64_t next_sequence() const { return next_.load(std::memory_order_relaxed); }
  // Submits the first ones of a batch, as many as there are credits, and says how many; publishes once and rings the
  // doorbell at most once. 0: full (EAGAIN: poll completions, or wait for fd()), or state() isn't active.
  std::size_t submit(std::span<const mlring_descriptor> batch);
  bool submit(const mlring_descriptor& descriptor) { return submit({&descriptor, 1}) == 1; }

  // Completing side -----------------------------------------------------------------------------------------------

  // Is there a completion to poll?
  bool ready();
  // Reads the next completion. `message` (may be null) is set to the worker's error message, or cleared.
  bool poll(Completion& out, std::string* message = nullptr);
  // Sleeps until completions can be polled. False: the deadline passed, or state() isn't active; completions that came
  // before that can still be polled.
  bool wait(const Wait& wait = {});

  // For a caller with its own event loop: arm(), and when it says true, fd() becomes readable once `completions` can be
  // polled or the state changes. When it says false there is something to do already. disarm() before polling.
  bool arm(uint32_t completions = 1);
  void disarm();
  int fd() const { return wake_fd_; }

  // Either side ---------------------------------------------------------------------------------------------------

  RingState state() const;
  // MLRING_FAULT_*: why the state is faulted.
  uint32_t fault() const;
  // All descriptors below this sequence are completed, as the worker says; it never moves back.
  uint64_t completed_sequence();
  // Asks the system whether life_fd has hung up (sleeping does so too); then the state is lost.
  void look_for_life();

 private:
  // A descriptor in flight. What is written as its user_data is its slot, so that nothing of the caller's has to be
  // trusted when it comes back.
  struct Slot {
    std::atomic<uint64_t> sequence{0};  // 0: nothing in flight
    uint64_t user_data = 0;
  };

  uint32_t submitted_index() const { return static_cast<uint32_t>(next_sequence()); }
  bool read_tail();
  void fail(uint32_t fault);
  bool spin(const Wait& wait);
  bool enough(uint32_t completions);
  void drain();

  ClientPages pages_;
  uint32_t depth_;
  uint32_t mask_;
  mlring_descriptor* descriptors_;
  const mlring_completion* completions_;
  const char* errors_;
  Doorbell doorbell_;
  int wake_fd_;
  int life_fd_;
  bool may_spin_;
  std::unique_ptr<Slot[]> slots_;
  // Free slots: the n-th descriptor takes its slot from place n, the n-th completion puts one back there.
  std::unique_ptr<uint32_t[]> free_;
  std::atomic<uint32_t> fault_{MLRING_FAULT_NONE};
  std::atomic<bool> hung_up_{false};

  // Private copies of every index: what is in the pages is only ever compared with these.
  alignas(128) std::atomic<uint64_t> next_{MLRING_START};  // submitting side
  uint32_t rung_ = 0;
  alignas(128) std::atomic<uint32_t> read_{MLRING_START};  // completing side: completions read
  uint32_t tail_ = MLRING_START;                           // completions seen published
  uint64_t watermark_ = MLRING_START;
};

}  // namespace ml::transport
