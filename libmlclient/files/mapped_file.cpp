#include "libmlclient/files/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "ml/error.h"

namespace ml::files {

MappedFile::MappedFile(const std::string& path) : path_(path) {
  // A pipe without a writer must be refused, not waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    throw Error(errno == ENOENT || errno == ENOTDIR ? Code::not_found : Code::io,
                "'" + path + "' cannot be opened: " + std::strerror(errno), {}, "check the path");
  }
  try {
    map(fd);
  } catch (...) {
    close(fd);
    throw;
  }
  close(fd);
}

MappedFile::MappedFile(int fd, std::string name) : path_(std::move(name)) { map(fd); }

void MappedFile::map(int fd) {
  struct stat status {};
  int error = fstat(fd, &status) != 0 ? errno : 0;
  if (error == 0 && !S_ISREG(status.st_mode)) error = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
  if (error == 0 && status.st_size > 0) {
    size_ = static_cast<std::size_t>(status.st_size);
    void* const base = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED)
      error = errno;
    else
      base_ = static_cast<std::byte*>(base);
  }
  if (error != 0) {
    throw Error(Code::io, "'" + path_ + "' cannot be read: " +
                              (error == EINVAL ? "it is no regular file" : std::strerror(error)));
  }
  if (base_ == nullptr) return;
  madvise(base_, size_, MADV_DONTFORK);
  // Read from disk in huge pages, and mapped in them, where the file system has them. Advice: nothing depends on it.
  madvise(base_, size_, MADV_HUGEPAGE);
}

MappedFile::~MappedFile() {
  if (base_ != nullptr) munmap(base_, size_);
}

}  // namespace ml::files
