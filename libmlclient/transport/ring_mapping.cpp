#include "libmlclient/transport/ring_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "ml/error.h"

namespace ml::transport {

namespace {

[[noreturn]] void refuse(const char* what) {
  throw Error(Code::io, std::string(what) + ": " + std::strerror(errno), "ring mapping");
}

void* map(int fd, uint64_t offset, uint64_t bytes, int protection) {
  void* at = mmap(nullptr, bytes, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (at == MAP_FAILED) refuse("mmap");
  madvise(at, bytes, MADV_DONTFORK);
  return at;
}

// A file of another size or one that can shrink would end this process with a SIGBUS.
void check(int fd, uint64_t bytes, const char* what, uint32_t depth) {
  struct stat status {};
  if (fstat(fd, &status) != 0) refuse("fstat");
  if (static_cast<uint64_t>(status.st_size) != bytes)
    throw Error(Code::corrupt,
                std::string(what) + " has " + std::to_string(status.st_size) + " bytes, for a ring of depth " +
                    std::to_string(depth) + " it has " + std::to_string(bytes),
                "ring mapping");
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
    throw Error(Code::denied, std::string(what) + " is not sealed against shrinking", "ring mapping");
}

}  // namespace

RingMapping::RingMapping(uint32_t depth) {
  if (!mlring_compute_layout(&layout_, depth, static_cast<uint32_t>(sysconf(_SC_PAGESIZE))))
    throw Error(Code::invalid_argument, "depth " + std::to_string(depth) + " is not a power of two", "ring mapping",
                "choose one from " + std::to_string(MLRING_DEPTH_MIN) + " to " + std::to_string(MLRING_DEPTH_MAX));
}

// Once the delegated constructor is done the destructor runs whatever is thrown here.
RingMapping::RingMapping(int memory_fd, uint32_t depth) : RingMapping(depth) {
  check(memory_fd, layout_.bytes, "the memory", depth);
  map_all(memory_fd);
}

// The kernel's pages can't go away under a mapping, and nobody else could have made the file.
RingMapping::RingMapping(KernelQueueFile file, uint32_t depth) : RingMapping(depth) { map_all(file.fd); }

void RingMapping::map_all(int fd) {
  submission_ = map(fd, layout_.submission_offset, layout_.submission_bytes, PROT_READ | PROT_WRITE);
  completion_ = map(fd, layout_.completion_offset, layout_.completion_bytes, PROT_READ);
  state_ = map(fd, layout_.state_offset, layout_.state_bytes, PROT_READ);
}

RingMapping::RingMapping(const RingFiles& files, uint32_t depth) : RingMapping(depth) {
  check(files.submission, layout_.submission_bytes, "the submission memory", depth);
  check(files.completion, layout_.completion_bytes, "the completion memory", depth);
  check(files.state, layout_.state_bytes, "the state memory", depth);
  submission_ = map(files.submission, 0, layout_.submission_bytes, PROT_READ | PROT_WRITE);
  completion_ = map(files.completion, 0, layout_.completion_bytes, PROT_READ);
  state_ = map(files.state, 0, layout_.state_bytes, PROT_READ);
}

RingMapping::~RingMapping() { unmap(); }

void RingMapping::unmap() {
  if (submission_) munmap(submission_, layout_.submission_bytes);
  if (completion_) munmap(const_cast<void*>(completion_), layout_.completion_bytes);
  if (state_) munmap(const_cast<void*>(state_), layout_.state_bytes);
}

ClientPages RingMapping::pages() const {
  return {static_cast<mlring_submission_header*>(submission_),
          static_cast<const mlring_completion_header*>(completion_), static_cast<const mlring_state*>(state_),
          layout_.depth};
}

}  // namespace ml::transport
