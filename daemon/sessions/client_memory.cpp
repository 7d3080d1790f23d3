#include "daemon/sessions/client_memory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <string>

#include "ml/error.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace ml::daemon {
namespace {

struct Wanted {
  const char* what;
  int seals;      // it must have
  int forbidden;  // it must not have
  bool writable;
};

void check(int fd, std::uint64_t bytes, const Wanted& wanted) {
  // First of all: this asks no file system, so a file whose file system never answers is refused here.
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0)
    throw Error(Code::invalid_argument, "the file is no memfd that can be sealed", wanted.what,
                "make it with memfd_create(MFD_ALLOW_SEALING)");
  struct statfs system {};
  struct stat status {};
  if (fstatfs(fd, &system) != 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || system.f_type != TMPFS_MAGIC)
    throw Error(Code::unsupported, "the memory is not of ordinary pages", wanted.what,
                "make it with memfd_create without MFD_HUGETLB");
  if ((seals & wanted.seals) != wanted.seals)
    throw Error(Code::denied,
                std::string("the memory is not sealed against ") + ((seals & F_SEAL_SHRINK) == 0 ? "shrinking"
                                                                    : (seals & F_SEAL_GROW) == 0 ? "growing"
                                                                                                 : "writing"),
                wanted.what, "seal it with F_ADD_SEALS before it is sent");
  if ((seals & wanted.forbidden) != 0)
    throw Error(Code::denied, "the memory is sealed against writing", wanted.what,
                "results could not be written there: seal it with F_SEAL_SHRINK and F_SEAL_GROW alone");
  if (wanted.writable && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
    throw Error(Code::denied, "the file is not open for reading and writing", wanted.what);
  if (bytes == 0 || static_cast<std::uint64_t>(status.st_size) != bytes)
    throw Error(
        Code::invalid_argument,
        "the memory has " + std::to_string(status.st_size) + " bytes and was said to have " + std::to_string(bytes),
        wanted.what, bytes == 0 ? "empty memory is of no use" : "");
}

}  // namespace

void check_arena(int fd, std::uint64_t bytes) {
  check(fd, bytes,
        {.what = "an arena",
         .seals = F_SEAL_SHRINK | F_SEAL_GROW,
         .forbidden = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE,
         .writable = true});
}

void check_model_file(int fd, std::uint64_t bytes) {
  check(fd, bytes,
        {.what = "a model's file",
         .seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
         .forbidden = 0,
         .writable = false});
}

}  // namespace ml::daemon
