#include "libmlclient/transport/client_ring.h"

#include <poll.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "ml/error.h"

namespace ml::transport {

namespace {

constexpr uint64_t spin_nanoseconds = 50'000;
// The worker holds the eventfd too and could drain it, so a sleeper looks around this often whatever happens.
constexpr uint64_t longest_sleep = 1'000'000'000;

uint64_t monotonic_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

bool several_cpus() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) > 1;
}

}  // namespace

ClientRing::ClientRing(const ClientPages& pages, Doorbell doorbell, int wake_fd, int life_fd)
    : pages_(pages),
      depth_(pages.depth),
      doorbell_(doorbell),
      wake_fd_(wake_fd),
      life_fd_(life_fd),
      may_spin_(several_cpus()) {
  mlring_layout layout{};
  if (!mlring_compute_layout(&layout, depth_, 4096))
    throw Error(Code::invalid_argument, "depth " + std::to_string(depth_) + " is not a power of two", "ring",
                "choose one from " + std::to_string(MLRING_DEPTH_MIN) + " to " + std::to_string(MLRING_DEPTH_MAX));
  mask_ = layout.mask;
  descriptors_ = reinterpret_cast<mlring_descriptor*>(reinterpret_cast<char*>(pages.submission) + layout.descriptors);
  completions_ =
      reinterpret_cast<const mlring_completion*>(reinterpret_cast<const char*>(pages.completion) + layout.completions);
  errors_ = reinterpret_cast<const char*>(pages.completion) + layout.errors;
  slots_ = std::make_unique<Slot[]>(depth_);
  free_ = std::make_unique<uint32_t[]>(depth_);
  std::iota(free_.get(), free_.get() + depth_, 0u);
}

void ClientRing::fail(uint32_t fault) {
  uint32_t none = MLRING_FAULT_NONE;
  fault_.compare_exchange_strong(none, fault);
}

uint32_t ClientRing::fault() const {
  const uint32_t own = fault_.load(std::memory_order_relaxed);
  return own != MLRING_FAULT_NONE ? own : MLRING_LOAD(&pages_.completion->fault);
}

RingState ClientRing::state() const {
  if (fault() != MLRING_FAULT_NONE) return RingState::faulted;
  if (hung_up_.load(std::memory_order_relaxed)) return RingState::lost;
  switch (MLRING_LOAD_ACQUIRE(&pages_.state->state)) {
    case MLRING_STATE_ACTIVE: return RingState::active;
    case MLRING_STATE_LOST: return RingState::lost;
    case MLRING_STATE_CLOSED: return RingState::closed;
    default: return RingState::faulted;
  }
}

std::size_t ClientRing::submit(std::span<const mlring_descriptor> batch) {
  const auto count = static_cast<uint32_t>(std::min<std::size_t>(batch.size(), credits()));
  if (count == 0 || state() != RingState::active) return 0;
  uint64_t next = next_sequence();
  for (uint32_t i = 0; i < count; ++i, ++next) {
    const uint32_t slot = free_[next & mask_];
    slots_[slot].user_data = batch[i].user_data;
    slots_[slot].sequence.store(next, std::memory_order_release);
    mlring_descriptor descriptor = batch[i];
    descriptor.user_data = slot;
    mlring_copy_out(&descriptors_[next & mask_], &descriptor, sizeof descriptor);
  }
  next_.store(next, std::memory_order_relaxed);
  MLRING_STORE_RELEASE(&pages_.submission->tail, submitted_index());
  MLRING_FULL_FENCE();
  if (mlring_doorbell_needed(pages_.completion, &rung_)) doorbell_.ring();
  return count;
}

bool ClientRing::read_tail() {
  const uint32_t now = MLRING_LOAD_ACQUIRE(&pages_.completion->completion_tail);
  // No more than a ring of completions can be unread; that each answers something in flight is checked when it is read.
  if (!mlring_index_ok(tail_, now, read_.load(std::memory_order_relaxed) + depth_)) {
    fail(MLRING_FAULT_COMPLETION_TAIL);
    return false;
  }
  tail_ = now;
  return true;
}

bool ClientRing::enough(uint32_t completions) {
  if (fault_.load(std::memory_order_relaxed) != MLRING_FAULT_NONE) return false;
  const uint32_t read = read_.load(std::memory_order_relaxed);
  return tail_ - read >= completions || (read_tail() && tail_ - read >= completions);
}

bool ClientRing::ready() { return enough(1); }

bool ClientRing::poll(Completion& out, std::string* message) {
  if (!ready()) return false;
  const uint32_t read = read_.load(std::memory_order_relaxed);
  mlring_copy_in(&out.entry, &completions_[read & mask_], sizeof out.entry);
  const uint64_t slot = out.entry.user_data;
  out.sequence = slot < depth_ ? slots_[slot].sequence.load(std::memory_order_acquire) : 0;
  if (out.sequence == 0 || static_cast<uint32_t>(out.sequence) != out.entry.sequence) {
    fail(MLRING_FAULT_SEQUENCE);
    return false;
  }
  if (!mlring_message_ok(&out.entry)) {
    fail(MLRING_FAULT_MESSAGE);
    return false;
  }
  out.entry.user_data = slots_[slot].user_data;
  if (message) message->assign(errors_ + out.entry.message_offset, out.entry.message_length);
  slots_[slot].sequence.store(0, std::memory_order_relaxed);
  free_[read & mask_] = static_cast<uint32_t>(slot);
  MLRING_STORE_RELEASE(&pages_.submission->completion_head, read + 1);
  read_.store(read + 1, std::memory_order_release);
  return true;
}

bool ClientRing::spin(const Wait& wait) {
  const uint64_t until = std::min(wait.deadline, monotonic_now() + spin_nanoseconds);
  do {
    for (int i = 0; i < 32; ++i) {
      if (enough(wait.completions)) return true;
      relax();
    }
  } while (monotonic_now() < until && state() == RingState::active);
  return false;
}

bool ClientRing::wait(const Wait& wait) {
  if (enough(wait.completions)) return true;
  if (may_spin_ && !wait.long_work && spin(wait)) return true;
  while (arm(wait.completions)) {
    const uint64_t now = monotonic_now();
    if (now >= wait.deadline) break;
    const uint64_t sleep = std::min(wait.deadline - now, longest_sleep);
    const timespec timeout{static_cast<time_t>(sleep / 1'000'000'000), static_cast<long>(sleep % 1'000'000'000)};
    pollfd on[] = {{wake_fd_, POLLIN, 0}, {life_fd_, 0, 0}};  // a hang-up is always reported
    if (ppoll(on, 2, &timeout, nullptr) <= 0) continue;
    if (on[1].revents != 0) hung_up_.store(true, std::memory_order_relaxed);
    if (on[0].revents != 0) drain();
  }
  mlring_client_disarm(pages_.submission);
  return enough(wait.completions);
}

void ClientRing::look_for_life() {
  pollfd on{life_fd_, 0, 0};
  if (life_fd_ >= 0 && ::poll(&on, 1, 0) > 0) hung_up_.store(true, std::memory_order_relaxed);
}

bool ClientRing::arm(uint32_t completions) {
  mlring_client_arm(pages_.submission, read_.load(std::memory_order_relaxed) + completions);
  return !enough(completions) && state() == RingState::active;
}

void ClientRing::disarm() {
  mlring_client_disarm(pages_.submission);
  drain();
}

void ClientRing::drain() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(wake_fd_, &count, sizeof count);  // EAGAIN: nobody rang
}

uint64_t ClientRing::completed_sequence() {
  const uint64_t now = MLRING_LOAD_ACQUIRE(&pages_.completion->completed_sequence);
  if (!mlring_sequence_ok(watermark_, now, next_sequence()))
    fail(MLRING_FAULT_SEQUENCE);
  else
    watermark_ = now;
  return watermark_;
}

}  // namespace ml::transport
