#include "daemon/registry/model_file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

#include "libmlclient/transport/unique_fd.h"
#include "ml/error.h"

namespace ml::daemon {

namespace {

using transport::UniqueFd;

constexpr std::size_t kBlock = 1 << 20;
constexpr std::uint64_t kUnsynced = 64 << 20;

[[noreturn]] void refuse(const char* what, const std::string& path, int error) {
  const Code code = error == ENOSPC || error == EDQUOT ? Code::no_space : Code::io;
  throw Error(code, std::string(what) + ": " + std::generic_category().message(error), path,
              code == Code::no_space ? "free space in the file system of the state directory" : "");
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    check(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
  }
  void update(const void* bytes, std::size_t size) { check(EVP_DigestUpdate(context_.get(), bytes, size)); }
  std::string finish() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
    unsigned size = 0;
    check(EVP_DigestFinal_ex(context_.get(), digest.data(), &size));
    std::string text = "sha256:";
    constexpr std::string_view kDigits = "0123456789abcdef";
    for (unsigned i = 0; i < size; ++i) {
      text += kDigits[digest[i] >> 4];
      text += kDigits[digest[i] & 15];
    }
    return text;
  }

 private:
  static void check(bool done) {
    if (!done) throw Error(Code::internal, "SHA-256 can't be computed", "OpenSSL");
  }
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

UniqueFd open_or_refuse(const std::string& path, int flags, mode_t mode = 0) {
  UniqueFd file(open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!file) refuse("can't open it", path, errno);
  return file;
}

void write_all(int file, const char* bytes, std::size_t size, const std::string& path) {
  while (size > 0) {
    const ssize_t written = write(file, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) refuse("can't write it", path, errno);
    bytes += written;
    size -= static_cast<std::size_t>(written);
  }
}

void sync(int file, const std::string& path) {
  if (fsync(file) != 0) refuse("can't write it through to the disk", path, errno);
}

void check_stop(const std::atomic<bool>& stop) {
  if (stop) throw Error(Code::cancelled, "mld is stopping", {}, "try again when it has started again");
}

// Hands all bytes of a file to `take(bytes, size)`. Answers how many there were.
template <class Take>
std::uint64_t read_all(int file, const std::string& path, const std::atomic<bool>& stop, Take take) {
  std::vector<char> block(kBlock);
  std::uint64_t done = 0;
  for (;;) {
    check_stop(stop);
    const ssize_t got = pread(file, block.data(), block.size(), static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse("can't read it", path, errno);
    if (got == 0) return done;
    take(block.data(), static_cast<std::size_t>(got));
    done += static_cast<std::uint64_t>(got);
  }
}

}  // namespace

void check_sealed(int file, std::uint64_t bytes) {
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  const int seals = fcntl(file, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    throw Error(Code::denied,
                seals < 0
                    ? "a model has to come in a memfd, and this is something else"
                    : "the model's memfd can still be changed: F_SEAL_SHRINK, F_SEAL_GROW or F_SEAL_WRITE is missing",
                "register model", "seal it with all three before it is sent");
  }
  struct stat status {};
  if (fstat(file, &status) != 0) refuse("can't ask for its size", "register model", errno);
  if (bytes == 0 || static_cast<std::uint64_t>(status.st_size) != bytes) {
    throw Error(Code::invalid_argument,
                "the model's memfd has " + std::to_string(status.st_size) + " bytes and was announced with " +
                    std::to_string(bytes),
                "register model", bytes == 0 ? "an empty file is no model" : "");
  }
}

std::string copy_and_sync(int file, std::uint64_t bytes, const std::string& path, const std::atomic<bool>& stop) {
  UniqueFd copy = open_or_refuse(path, O_WRONLY | O_CREAT | O_EXCL, 0400);
  // A disk without room says so before anything is copied, where the file system can tell.
  if (fallocate(copy.get(), 0, 0, static_cast<off_t>(bytes)) != 0 && errno != EOPNOTSUPP && errno != EINTR)
    refuse("no room for it", path, errno);
  Sha256 hash;
  std::uint64_t unsynced = 0;
  const std::uint64_t copied = read_all(file, path, stop, [&](const char* block, std::size_t size) {
    hash.update(block, size);
    write_all(copy.get(), block, size, path);
    // Little by little, so that the disk is never far behind and stopping never waits for all of it.
    if ((unsynced += size) < kUnsynced) return;
    sync(copy.get(), path);
    unsynced = 0;
  });
  if (copied != bytes)
    throw Error(Code::io, "got " + std::to_string(copied) + " of " + std::to_string(bytes) + " bytes", path);
  sync(copy.get(), path);
  return hash.finish();
}

std::string checksum_of(const std::string& path, const std::atomic<bool>& stop) {
  const UniqueFd file = open_or_refuse(path, O_RDONLY);
  posix_fadvise(file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  Sha256 hash;
  read_all(file.get(), path, stop, [&](const char* block, std::size_t size) { hash.update(block, size); });
  return hash.finish();
}

void write_and_sync(const std::string& path, const std::string& text) {
  const UniqueFd file = open_or_refuse(path, O_WRONLY | O_CREAT | O_EXCL, 0400);
  write_all(file.get(), text.data(), text.size(), path);
  sync(file.get(), path);
}

void sync_folder(const std::string& path) {
  const UniqueFd folder = open_or_refuse(path, O_RDONLY | O_DIRECTORY);
  sync(folder.get(), path);
}

}  // namespace ml::daemon
