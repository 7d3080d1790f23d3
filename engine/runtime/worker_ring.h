// The worker's end of one queue: takes descriptors, publishes completions, parks. It allocates when it is made and
// never again, and the only system call it makes is the one that wakes a sleeping client or tells the queue's owner.
// One thread uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "kernel/uapi/mlaccel_ring.h"

namespace ml::runtime {

class EventBell;

// The pages of a queue as the worker maps them.
struct WorkerPages {
  const mlring_submission_header* submission;
  mlring_completion_header* completion;
  const mlring_state* state;
  uint32_t depth;
};

// A queue's owner that wakes its client and waits for sequences itself: the kernel, for queues that it made.
class RingOwner {
 public:
  virtual ~RingOwner() = default;
  // It looks at what was published. `wake`: the client sleeps and is to be woken.
  virtual void notify(bool wake) = 0;
};

// A private copy of a descriptor that passed mlring_check_descriptor(). `slot` names it until it is completed; it is
// below the ring's depth, so tables of what is in flight can be arrays.
struct TakenDescriptor {
  uint64_t sequence;
  uint32_t slot;
  mlring_descriptor descriptor;
};

class WorkerRing {
 public:
  // wake_fd is the eventfd on which the client sleeps; the caller keeps it open. `bell` rings it when another process
  // holds it too; null: it is written. With an owner there is neither: the owner is notified. The pages must be new:
  // the worker's own words in them are written here. Throws invalid_argument when the depth is not a power of two
  // within bounds.
  WorkerRing(const WorkerPages& pages, int wake_fd, EventBell* bell = nullptr, RingOwner* owner = nullptr);

  // Copies, checks and takes at most out.size() descriptors and says how many. One that is refused is answered here
  // with INVALID_ARGUMENT, and is not among them. No more are taken than completions are free, so each can be answered.
  // `now` (CLOCK_MONOTONIC ns) is when they were submitted.
  std::size_t take(std::span<TakenDescriptor> out, uint64_t now);

  // Answers a taken descriptor, in any order, each exactly once. The caller fills in status, result, bytes, started and
  // ended; the rest is filled in here. A message is cut to MLRING_MESSAGE_MAX, and to what is left of the error area.
  // Visible after publish().
  void complete(uint32_t slot, const mlring_completion& answer, std::string_view message = {});

  // Shows the completions since the last call to the client and wakes it if it sleeps. True: the queue's owner waits
  // for a sequence that was passed; it has been notified if it is a RingOwner.
  bool publish();

  // Wakes the client, whether or not it sleeps.
  void wake_client() const;

  // Does take() have something to take?
  bool pending();

  // Stops polling this ring: only its doorbell announces work from now on. False when something arrived meanwhile; the
  // ring is then still awake.
  bool park();
  // Polls it again; called when the doorbell rings. Look at pending() afterwards.
  void unpark();
  bool parked() const { return (parked_ & 1) != 0; }

  // Adds to the time spent for this queue.
  void add_busy(uint64_t nanoseconds);
  // Since when something of this queue has been running without anything of it having ended; 0: nothing runs. The
  // owner's watchdog goes by it.
  void set_running_since(uint64_t now);

  // MLRING_FAULT_NONE, or why this ring ended. A faulted ring takes nothing more; completing on it does nothing.
  uint32_t fault() const { return fault_; }
  // Descriptors taken and not answered yet.
  uint32_t in_flight() const { return taken_ - completed_; }
  // Are there completions that publish() would show?
  bool unpublished() const { return completed_ != published_; }
  // The client's tail, as it was seen last.
  uint32_t seen_tail() const { return tail_; }
  // The first sequence that is not completed with all before it.
  uint64_t completed_sequence() const { return oldest_ == none ? taken_sequence_ : in_flight_[oldest_].sequence; }

 private:
  static constexpr uint32_t none = UINT32_MAX;

  // A descriptor in flight, in a list from the oldest to the newest.
  struct InFlight {
    uint64_t sequence;
    uint64_t user_data;
    uint64_t submitted;
    uint32_t older;
    uint32_t newer;
  };

  // The client's free completions, as far as they are known.
  uint32_t credits() const { return layout_.depth - (taken_ - client_head_); }
  bool read_client_head();
  bool read_tail();
  void fail(uint32_t fault);
  void store_message(mlring_completion& completion, std::string_view message);

  WorkerPages pages_;
  mlring_layout layout_;
  const mlring_descriptor* descriptors_;
  mlring_completion* completions_;
  char* errors_;
  int wake_fd_;
  EventBell* bell_;
  RingOwner* owner_;

  // Private copies of every index: what is in the pages is only ever compared with these.
  uint32_t taken_ = MLRING_START;        // descriptors taken
  uint32_t tail_ = MLRING_START;         // descriptors seen published
  uint32_t completed_ = MLRING_START;    // completions written
  uint32_t published_ = MLRING_START;    // completions published
  uint32_t client_head_ = MLRING_START;  // completions seen read
  uint32_t parked_ = 0;
  uint32_t fault_ = MLRING_FAULT_NONE;
  uint64_t taken_sequence_ = MLRING_START;
  uint64_t published_sequence_ = MLRING_START;  // the watermark published
  uint64_t busy_ = 0;

  std::unique_ptr<InFlight[]> in_flight_;  // by slot
  uint32_t oldest_ = none;
  uint32_t newest_ = none;
  // Free slots: the n-th descriptor takes its slot from place n, the n-th completion puts one back there.
  std::unique_ptr<uint32_t[]> free_;

  // Where the error area was filled up to when a completion was written, by its place in the ring.
  std::unique_ptr<uint32_t[]> message_end_;
  uint32_t message_head_ = 0;  // free-running byte positions in the error area: oldest kept, next free
  uint32_t message_tail_ = 0;
};

}  // namespace ml::runtime
