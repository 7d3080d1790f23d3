#include "engine/runtime/shared_ring_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "ml/error.h"

namespace ml::runtime {
namespace {

constexpr char kWhere[] = "queue memory";

[[noreturn]] void refuse(const std::string& what) { throw Error(Code::io, what + ": " + std::strerror(errno), kWhere); }

struct stat status_of(int fd, const std::string& name) {
  struct stat status {};
  if (fstat(fd, &status) != 0) refuse("the " + name + " file");
  return status;
}

// Memory that can neither shrink under a mapping nor be something else than it seems.
void check_memory(int fd, const std::string& name, std::uint64_t bytes, int seals) {
  const struct stat status = status_of(fd, name);
  const int present = fcntl(fd, F_GET_SEALS);
  if (!S_ISREG(status.st_mode) || present < 0)
    throw Error(Code::invalid_argument, "the " + name + " file is no memfd", kWhere);
  if (static_cast<std::uint64_t>(status.st_size) != bytes) {
    throw Error(Code::invalid_argument,
                "the " + name + " file has " + std::to_string(status.st_size) + " bytes, not " + std::to_string(bytes),
                kWhere);
  }
  if ((present & seals) != seals) {
    throw Error(
        Code::invalid_argument,
        "the " + name + " file has the seals " + std::to_string(present) + ", not all of " + std::to_string(seals),
        kWhere);
  }
}

// A copy of the fd. Eventfds have no file type.
int keep_eventfd(int fd, const std::string& name) {
  if ((status_of(fd, name).st_mode & S_IFMT) != 0)
    throw Error(Code::invalid_argument, "the " + name + " file is no eventfd", kWhere);
  const int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (kept < 0) refuse("dup");
  return kept;
}

void* map(int fd, std::uint64_t bytes, int protection) {
  void* at = mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) refuse("mmap");
  madvise(at, bytes, MADV_DONTFORK);
  return at;
}

}  // namespace

SharedRingMemory::SharedRingMemory(const QueueFiles& files, std::uint32_t depth) {
  if (!mlring_compute_layout(&layout_, depth, static_cast<std::uint32_t>(sysconf(_SC_PAGESIZE)))) {
    throw Error(Code::invalid_argument, "depth " + std::to_string(depth) + " is not a power of two", kWhere,
                "choose one from " + std::to_string(MLRING_DEPTH_MIN) + " to " + std::to_string(MLRING_DEPTH_MAX));
  }
  constexpr int kFixed = F_SEAL_SHRINK | F_SEAL_GROW;
  check_memory(files.submission, "submission", layout_.submission_bytes, kFixed);
  check_memory(files.state, "state", layout_.state_bytes, kFixed);
  try {
    submission_ = map(files.submission, layout_.submission_bytes, PROT_READ);
    state_ = map(files.state, layout_.state_bytes, PROT_READ);
    completion_fd_ = memfd_create("mlaccel-completion", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (completion_fd_ < 0) refuse("memfd_create");
    if (ftruncate(completion_fd_, static_cast<off_t>(layout_.completion_bytes)) != 0) refuse("ftruncate");
    completion_ = map(completion_fd_, layout_.completion_bytes, PROT_READ | PROT_WRITE);
    // Behind the mapping: it stays the only one through which anything is ever written.
    if (fcntl(completion_fd_, F_ADD_SEALS, kFixed | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0) refuse("sealing");
    doorbell_fd_ = keep_eventfd(files.doorbell, "doorbell");
    wake_fd_ = keep_eventfd(files.wake, "wake");
  } catch (...) {
    close_all();
    throw;
  }
}

SharedRingMemory::~SharedRingMemory() { close_all(); }

void SharedRingMemory::close_all() {
  if (submission_ != nullptr) munmap(const_cast<void*>(submission_), layout_.submission_bytes);
  if (completion_ != nullptr) munmap(completion_, layout_.completion_bytes);
  if (state_ != nullptr) munmap(const_cast<void*>(state_), layout_.state_bytes);
  for (const int fd : {completion_fd_, doorbell_fd_, wake_fd_})
    if (fd >= 0) close(fd);
}

WorkerPages SharedRingMemory::worker_pages() const {
  return {static_cast<const mlring_submission_header*>(submission_),
          static_cast<mlring_completion_header*>(completion_), static_cast<const mlring_state*>(state_), layout_.depth};
}

}  // namespace ml::runtime
