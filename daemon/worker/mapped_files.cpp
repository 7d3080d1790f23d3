#include "daemon/worker/mapped_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "ml/error.h"

namespace ml::daemon {
namespace {

// Anonymous and shared-memory files; a memfd of huge pages has another block size.
bool of_ordinary_pages(const struct stat& status) { return status.st_blksize == sysconf(_SC_PAGESIZE); }

struct stat status_of(int file, std::uint64_t bytes, const char* what) {
  struct stat status {};
  if (fstat(file, &status) != 0) throw Error(Code::io, std::string(what) + ": " + std::strerror(errno));
  if (!S_ISREG(status.st_mode) || bytes == 0 || static_cast<std::uint64_t>(status.st_size) != bytes) {
    throw Error(Code::invalid_argument, std::string(what) + " has " + std::to_string(status.st_size) + " bytes where " +
                                            std::to_string(bytes) + " were announced");
  }
  return status;
}

void* map(int file, std::uint64_t bytes, int protection, const char* what) {
  void* const base = mmap(nullptr, bytes, protection, MAP_SHARED, file, 0);
  if (base == MAP_FAILED) {
    throw Error(errno == ENOMEM ? Code::out_of_memory : Code::io,
                std::string(what) + " cannot be mapped: " + std::strerror(errno));
  }
  return base;
}

}  // namespace

void* map_arena(int file, std::uint64_t bytes) {
  const struct stat status = status_of(file, bytes, "an arena");
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;
  const int seals = fcntl(file, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0 ||
      !of_ordinary_pages(status)) {
    throw Error(Code::invalid_argument,
                "an arena must be a memfd of ordinary pages, sealed against shrinking and growing but not writing; "
                "its seals are " +
                    std::to_string(seals));
  }
  return map(file, bytes, PROT_READ | PROT_WRITE, "an arena");
}

void* map_shared(int file, std::uint64_t bytes) {
  struct stat status {};
  if (fstat(file, &status) != 0) throw Error(Code::io, std::string("shared memory: ") + std::strerror(errno));
  if (static_cast<std::uint64_t>(status.st_size) < bytes) {
    throw Error(Code::invalid_argument,
                "shared memory has " + std::to_string(status.st_size) + " bytes, not " + std::to_string(bytes));
  }
  return map(file, bytes, PROT_READ | PROT_WRITE, "shared memory");
}

MappedModel::MappedModel(int file, std::uint64_t bytes) {
  status_of(file, bytes, "a model's file");
  bytes_ = {static_cast<const std::byte*>(map(file, bytes, PROT_READ, "a model's file")), bytes};
}

MappedModel::~MappedModel() { munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size()); }

}  // namespace ml::daemon
