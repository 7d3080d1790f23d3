#include "daemon/sessions/queue_pages.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "engine/runtime/event_bell.h"
#include "libmlclient/transport/memfd.h"
#include "ml/error.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace ml::daemon {
namespace {

constexpr int kFixed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

[[noreturn]] void refuse(const char* call) {
  const Code code =
      errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOSPC ? Code::no_space : Code::io;
  throw Error(code, std::string(call) + ": " + std::strerror(errno), "the memory of a queue",
              "mld is short of files or memory; try again when others have closed theirs");
}

transport::UniqueFd make_eventfd() {
  transport::UniqueFd made(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!made) refuse("eventfd");
  return made;
}

mlring_layout layout_of(std::uint32_t depth) {
  mlring_layout layout{};
  mlring_compute_layout(&layout, depth, static_cast<std::uint32_t>(sysconf(_SC_PAGESIZE)));
  return layout;
}

}  // namespace

std::uint64_t QueuePages::bytes(std::uint32_t depth) { return layout_of(depth).bytes; }

QueuePages::QueuePages(std::uint32_t depth, std::uint32_t generation)
    : doorbell_(make_eventfd()), wake_(make_eventfd()) {
  const mlring_layout layout = layout_of(depth);
  submission_ = transport::make_memfd("mlaccel-submission", layout.submission_bytes);
  // The client's words start like its private copies do, before anybody reads them.
  mlring_submission_header header{};
  header.tail = header.completion_head = MLRING_START;
  if (pwrite(submission_.get(), &header, sizeof header, 0) != sizeof header) refuse("pwrite");
  transport::seal(submission_.get(), kFixed);

  state_fd_ = transport::make_memfd("mlaccel-state", layout.state_bytes);
  void* const at = mmap(nullptr, layout.state_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, state_fd_.get(), 0);
  if (at == MAP_FAILED) refuse("mmap");
  page_ = static_cast<mlring_state*>(at);
  try {
    // Nobody maps it writable after this.
    transport::seal(state_fd_.get(), kFixed | F_SEAL_FUTURE_WRITE);
  } catch (...) {
    munmap(at, layout.state_bytes);
    throw;
  }
  MLRING_STORE(&page_->generation, generation);
  MLRING_STORE(&page_->notify_at, std::uint64_t{MLRING_NEVER});
  MLRING_STORE_RELEASE(&page_->state, MLRING_STATE_ACTIVE);
}

QueuePages::~QueuePages() {
  if (page_ != nullptr) munmap(page_, layout_of(MLRING_DEPTH_MIN).state_bytes);  // the same for every depth
}

void QueuePages::handed_over() {
  submission_.reset();
  state_fd_.reset();
  doorbell_.reset();
}

void QueuePages::end(std::uint32_t state, runtime::EventBell& bell) {
  if (MLRING_LOAD(&page_->state) != MLRING_STATE_ACTIVE) return;  // mld alone writes here
  if (state == MLRING_STATE_LOST) MLRING_STORE(&page_->generation, MLRING_LOAD(&page_->generation) + 1);
  MLRING_STORE_RELEASE(&page_->state, state);
  bell.ring(wake_.get());
}

}  // namespace ml::daemon
