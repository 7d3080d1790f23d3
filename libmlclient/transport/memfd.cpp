#include "libmlclient/transport/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "ml/error.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace ml::transport {
namespace {

[[noreturn]] void fail(const std::string& what, int error) {
  const std::string text = what + ": " + std::strerror(error);
  if (error == EMFILE || error == ENFILE)
    throw Error(Code::no_space, text, {}, "allow more open files (ulimit -n), or hold fewer large tensors");
  const bool full = error == ENOMEM || error == ENOSPC || error == EFBIG || error == EDQUOT;
  throw Error(full ? Code::no_space : Code::io, text);
}

}  // namespace

UniqueFd make_memfd(const char* name, std::uint64_t bytes) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (fd < 0 && errno == EINVAL) fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);  // before Linux 6.3
  if (fd < 0) fail("cannot make shared memory", errno);
  UniqueFd memory(fd);
  if (bytes > INT64_MAX) fail("cannot make shared memory of " + std::to_string(bytes) + " bytes", EFBIG);
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0)
    fail("cannot make shared memory of " + std::to_string(bytes) + " bytes", errno);
  return memory;
}

void seal(int fd, int seals) {
  if (fcntl(fd, F_ADD_SEALS, seals) != 0) fail("cannot seal shared memory", errno);
}

}  // namespace ml::transport
