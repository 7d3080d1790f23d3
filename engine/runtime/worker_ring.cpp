#include "engine/runtime/worker_ring.h"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <numeric>
#include <string>

#include "engine/runtime/event_bell.h"
#include "ml/error.h"

namespace ml::runtime {

namespace {

constexpr uint32_t error_mask = MLRING_ERROR_BYTES - 1;
static_assert((MLRING_ERROR_BYTES & error_mask) == 0, "positions in the error area wrap with u32");

}  // namespace

WorkerRing::WorkerRing(const WorkerPages& pages, int wake_fd, EventBell* bell, RingOwner* owner)
    : pages_(pages), layout_{}, wake_fd_(wake_fd), bell_(bell), owner_(owner) {
  if (!mlring_compute_layout(&layout_, pages.depth, 4096))
    throw Error(Code::invalid_argument, "depth " + std::to_string(pages.depth) + " is not a power of two", "ring",
                "choose one from " + std::to_string(MLRING_DEPTH_MIN) + " to " + std::to_string(MLRING_DEPTH_MAX));
  descriptors_ =
      reinterpret_cast<const mlring_descriptor*>(reinterpret_cast<const char*>(pages.submission) + layout_.descriptors);
  completions_ = reinterpret_cast<mlring_completion*>(reinterpret_cast<char*>(pages.completion) + layout_.completions);
  errors_ = reinterpret_cast<char*>(pages.completion) + layout_.errors;
  in_flight_ = std::make_unique<InFlight[]>(layout_.depth);
  free_ = std::make_unique<uint32_t[]>(layout_.depth);
  std::iota(free_.get(), free_.get() + layout_.depth, 0u);
  message_end_ = std::make_unique<uint32_t[]>(layout_.depth);
  MLRING_STORE(&pages.completion->completed_sequence, uint64_t{MLRING_START});
  MLRING_STORE(&pages.completion->submission_head, MLRING_START);
  MLRING_STORE_RELEASE(&pages.completion->completion_tail, MLRING_START);
}

void WorkerRing::wake_client() const {
  if (owner_ != nullptr) return owner_->notify(true);
  if (bell_ != nullptr) return bell_->ring(wake_fd_);
  const uint64_t one = 1;
  // A full counter (EAGAIN) is readable already.
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
}

void WorkerRing::fail(uint32_t fault) {
  fault_ = fault;
  MLRING_STORE_RELEASE(&pages_.completion->fault, fault);
  wake_client();
}

bool WorkerRing::read_tail() {
  const uint32_t now = MLRING_LOAD_ACQUIRE(&pages_.submission->tail);
  if (!mlring_index_ok(tail_, now, taken_ + layout_.depth)) {
    fail(MLRING_FAULT_SUBMISSION_TAIL);
    return false;
  }
  tail_ = now;
  return true;
}

bool WorkerRing::read_client_head() {
  const uint32_t now = MLRING_LOAD_ACQUIRE(&pages_.submission->completion_head);
  if (!mlring_index_ok(client_head_, now, published_)) {
    fail(MLRING_FAULT_COMPLETION_HEAD);
    return false;
  }
  if (now != client_head_) message_head_ = message_end_[(now - 1) & layout_.mask];
  client_head_ = now;
  return true;
}

bool WorkerRing::pending() {
  if (fault_ != MLRING_FAULT_NONE || (tail_ == taken_ && !read_tail()) || tail_ == taken_) return false;
  if (credits() < tail_ - taken_ && !read_client_head()) return false;
  return credits() != 0;
}

std::size_t WorkerRing::take(std::span<TakenDescriptor> out, uint64_t now) {
  if (!pending()) return 0;
  std::size_t taken = 0;
  const auto room = static_cast<uint32_t>(std::min<std::size_t>(out.size(), layout_.depth));
  for (uint32_t left = std::min({tail_ - taken_, credits(), room}); left != 0; --left) {
    TakenDescriptor& to = out[taken];
    mlring_copy_in(&to.descriptor, &descriptors_[taken_ & layout_.mask], sizeof to.descriptor);
    to.slot = free_[taken_ & layout_.mask];
    to.sequence = taken_sequence_;
    in_flight_[to.slot] = {taken_sequence_, to.descriptor.user_data, now, newest_, none};
    (newest_ == none ? oldest_ : in_flight_[newest_].newer) = to.slot;
    newest_ = to.slot;
    ++taken_;
    ++taken_sequence_;
    const uint32_t refusal = mlring_check_descriptor(&to.descriptor);
    if (refusal == 0) {
      ++taken;
      continue;
    }
    mlring_completion answer{};
    answer.status = MLRING_INVALID_ARGUMENT;
    answer.started = answer.ended = now;
    complete(to.slot, answer, mlring_refusal_text(refusal));
  }
  MLRING_STORE(&pages_.completion->submission_head, taken_);
  return taken;
}

// The error area is a ring of bytes. A message lies in one piece, so one that would cross the end starts over; what the
// client hasn't read is never overwritten, and a message that finds too little room is cut.
void WorkerRing::store_message(mlring_completion& completion, std::string_view message) {
  completion.message_offset = 0;
  completion.message_length = 0;
  if (message.empty()) return;
  const auto wanted = static_cast<uint32_t>(std::min<std::size_t>(message.size(), MLRING_MESSAGE_MAX));
  if (MLRING_ERROR_BYTES - (message_tail_ - message_head_) < 2 * MLRING_MESSAGE_MAX && !read_client_head()) return;
  uint32_t start = message_tail_;
  const uint32_t to_end = MLRING_ERROR_BYTES - (start & error_mask);
  if (wanted > to_end) start += to_end;
  const uint32_t used = start - message_head_;
  uint32_t length = used >= MLRING_ERROR_BYTES ? 0 : std::min(wanted, MLRING_ERROR_BYTES - used);
  if (length < message.size())  // not in the middle of a character
    while (length != 0 && (static_cast<unsigned char>(message[length]) & 0xc0) == 0x80) --length;
  if (length == 0) return;
  completion.message_offset = start & error_mask;
  completion.message_length = length;
  std::memcpy(errors_ + completion.message_offset, message.data(), length);
  message_tail_ = start + length;
}

void WorkerRing::complete(uint32_t slot, const mlring_completion& answer, std::string_view message) {
  if (fault_ != MLRING_FAULT_NONE) return;
  InFlight& done = in_flight_[slot];
  assert(done.sequence != 0 && "each descriptor is answered once");
  mlring_completion completion = answer;
  completion.user_data = done.user_data;
  completion.sequence = static_cast<uint32_t>(done.sequence);
  completion.submitted = done.submitted;
  store_message(completion, message);
  (done.older == none ? oldest_ : in_flight_[done.older].newer) = done.newer;
  (done.newer == none ? newest_ : in_flight_[done.newer].older) = done.older;
  done.sequence = 0;
  const uint32_t at = completed_++ & layout_.mask;
  mlring_copy_out(&completions_[at], &completion, sizeof completion);
  message_end_[at] = message_tail_;
  free_[at] = slot;
}

bool WorkerRing::publish() {
  if (completed_ == published_ || fault_ != MLRING_FAULT_NONE) return false;
  const uint32_t before = published_;
  const uint64_t before_sequence = published_sequence_;
  published_ = completed_;
  published_sequence_ = completed_sequence();
  MLRING_STORE(&pages_.completion->completed_sequence, published_sequence_);
  MLRING_STORE_RELEASE(&pages_.completion->completion_tail, completed_);
  MLRING_FULL_FENCE();
  const bool wake = mlring_client_needs_wake(pages_.submission, before, published_);
  const bool notice = mlring_owner_needs_notice(pages_.state, before_sequence, published_sequence_);
  if (owner_ != nullptr && (wake || notice))
    owner_->notify(wake);
  else if (wake)
    wake_client();
  return notice;
}

bool WorkerRing::park() {
  if (parked()) return true;
  mlring_worker_turn(pages_.completion, &parked_);
  if (!pending()) return true;
  unpark();
  return false;
}

void WorkerRing::unpark() {
  if (parked()) mlring_worker_turn(pages_.completion, &parked_);
}

void WorkerRing::add_busy(uint64_t nanoseconds) {
  busy_ += nanoseconds;
  MLRING_STORE(&pages_.completion->busy, busy_);
}

void WorkerRing::set_running_since(uint64_t now) { MLRING_STORE(&pages_.completion->running_since, now); }

}  // namespace ml::runtime
