#include "engine/runtime/ring_memory.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "ml/error.h"

namespace ml::runtime {

namespace {

[[noreturn]] void refuse(const char* what) {
  throw Error(Code::io, std::string(what) + ": " + std::strerror(errno), "ring memory");
}

int make_eventfd() {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) refuse("eventfd");
  return fd;
}

void* map(int fd, uint64_t offset, uint64_t bytes, int protection) {
  void* at = mmap(nullptr, bytes, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (at == MAP_FAILED) refuse("mmap");
  madvise(at, bytes, MADV_DONTFORK);
  return at;
}

}  // namespace

RingMemory::RingMemory(uint32_t depth) {
  if (!mlring_compute_layout(&layout_, depth, static_cast<uint32_t>(sysconf(_SC_PAGESIZE))))
    throw Error(Code::invalid_argument, "depth " + std::to_string(depth) + " is not a power of two", "ring memory",
                "choose one from " + std::to_string(MLRING_DEPTH_MIN) + " to " + std::to_string(MLRING_DEPTH_MAX));
  try {
    memory_fd_ = memfd_create("mlaccel-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory_fd_ < 0) refuse("memfd_create");
    if (ftruncate(memory_fd_, static_cast<off_t>(layout_.bytes)) != 0) refuse("ftruncate");
    if (fcntl(memory_fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) refuse("sealing");
    doorbell_fd_ = make_eventfd();
    wake_fd_ = make_eventfd();
    // The client's pages are readable only: the worker never writes there.
    submission_ = map(memory_fd_, layout_.submission_offset, layout_.submission_bytes, PROT_READ);
    completion_ = map(memory_fd_, layout_.completion_offset, layout_.completion_bytes, PROT_READ | PROT_WRITE);
    state_ = map(memory_fd_, layout_.state_offset, layout_.state_bytes, PROT_READ | PROT_WRITE);
    // The client's words start like its private copies do, before anybody reads them.
    mlring_submission_header header{};
    header.tail = header.completion_head = MLRING_START;
    if (pwrite(memory_fd_, &header, sizeof header, static_cast<off_t>(layout_.submission_offset)) != sizeof header)
      refuse("pwrite");
  } catch (...) {
    close_all();
    throw;
  }
  auto* state = static_cast<mlring_state*>(state_);
  MLRING_STORE(&state->generation, 1u);
  MLRING_STORE(&state->notify_at, uint64_t{MLRING_NEVER});
  MLRING_STORE_RELEASE(&state->state, MLRING_STATE_ACTIVE);
}

RingMemory::~RingMemory() { close_all(); }

void RingMemory::close_all() {
  if (submission_) munmap(const_cast<void*>(submission_), layout_.submission_bytes);
  if (completion_) munmap(completion_, layout_.completion_bytes);
  if (state_) munmap(state_, layout_.state_bytes);
  for (const int fd : {memory_fd_, doorbell_fd_, wake_fd_})
    if (fd >= 0) close(fd);
}

WorkerPages RingMemory::worker_pages() const {
  return {static_cast<const mlring_submission_header*>(submission_),
          static_cast<mlring_completion_header*>(completion_), static_cast<const mlring_state*>(state_), layout_.depth};
}

void RingMemory::set_state(uint32_t state) {
  auto* word = &static_cast<mlring_state*>(state_)->state;
  uint32_t active = MLRING_STATE_ACTIVE;
  if (!__atomic_compare_exchange_n(word, &active, state, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return;
  const uint64_t one = 1;
  for (const int fd : {doorbell_fd_, wake_fd_}) {
    // A full counter (EAGAIN) is readable already.
    [[maybe_unused]] const ssize_t written = write(fd, &one, sizeof one);
  }
}

}  // namespace ml::runtime
