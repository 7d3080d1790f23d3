#include "libmlclient/transport/memory_source.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "libmlclient/transport/memfd.h"
#include "ml/error.h"

namespace ml::transport {
namespace {

class PrivateMemory final : public MemorySource {
 public:
  HostMemory make(std::uint64_t bytes) override { return {map_for_tensors(-1, bytes), {}}; }
};

class SealedMemory final : public MemorySource {
 public:
  HostMemory make(std::uint64_t bytes) override {
    UniqueFd fd = make_memfd("mlaccel-arena", bytes);
    seal(fd.get(), F_SEAL_SHRINK | F_SEAL_GROW);
    void* const base = map_for_tensors(fd.get(), bytes);
    return {base, std::move(fd)};
  }
};

}  // namespace

void* map_for_tensors(int fd, std::uint64_t bytes) {
  const int flags = MAP_SHARED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (base == MAP_FAILED) {
    throw Error(Code::out_of_memory,
                "cannot map " + std::to_string(bytes) + " bytes for tensors: " + std::strerror(errno), {},
                "drop tensors that are no longer needed");
  }
  madvise(base, bytes, MADV_DONTFORK);
  return base;
}

std::shared_ptr<MemorySource> private_memory() { return std::make_shared<PrivateMemory>(); }
std::shared_ptr<MemorySource> sealed_memory() { return std::make_shared<SealedMemory>(); }

}  // namespace ml::transport
