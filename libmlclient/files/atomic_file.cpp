#include "libmlclient/files/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <vector>

#include "ml/error.h"

namespace ml::files {
namespace {

// A write past RLIMIT_FSIZE raises SIGXFSZ, which kills by default; blocked, it becomes EFBIG.
class BlockFileSizeSignal {
 public:
  BlockFileSizeSignal() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &signals, &before_);
  }
  ~BlockFileSizeSignal() {
    if (sigismember(&before_, SIGXFSZ) == 0) {
      sigset_t signals;
      sigemptyset(&signals);
      sigaddset(&signals, SIGXFSZ);
      const timespec now{};
      while (sigtimedwait(&signals, nullptr, &now) == SIGXFSZ) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  BlockFileSizeSignal(const BlockFileSizeSignal&) = delete;
  BlockFileSizeSignal& operator=(const BlockFileSizeSignal&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

AtomicFile::AtomicFile(const std::string& path) : path_(path), target_(path) {
  std::error_code no_such_file;
  const std::filesystem::path behind_links = std::filesystem::canonical(path, no_such_file);
  if (!no_such_file) target_ = behind_links;
  struct stat old {};
  const bool replaces = stat(target_.c_str(), &old) == 0;
  if (replaces && !S_ISREG(old.st_mode)) {
    throw Error(Code::io,
                "'" + path_ + "' cannot be replaced: it is " + (S_ISDIR(old.st_mode) ? "a directory" : "no file"), {},
                "name a file");
  }
  // Made as any new file is, with what the umask leaves; a file that is replaced hands on who may read it.
  std::random_device random;
  do {
    temporary_ = target_ + "." + std::to_string(random()) + ".tmp";
    fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, replaces ? 0600 : 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) fail("cannot be created", errno);
  if (replaces) fchmod(fd_, old.st_mode & 0777);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* what, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Error(full ? Code::no_space : Code::io, "'" + path_ + "' " + what + ": " + std::strerror(error), {},
              full ? "free some space, or write somewhere else; what was there before is unchanged"
                   : "check that its directory exists and may be written");
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  const BlockFileSizeSignal guard;
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("cannot be written", errno);
    size_ += static_cast<std::size_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::commit() {
  if (fsync(fd_) != 0) fail("cannot be synced", errno);
  if (rename(temporary_.c_str(), target_.c_str()) != 0) fail("cannot be replaced", errno);
  close(fd_);
  fd_ = -1;
  // The rename itself must survive a crash too.
  std::filesystem::path folder = std::filesystem::path(target_).parent_path();
  if (folder.empty()) folder = ".";
  const int directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;
  const int error = fsync(directory) != 0 ? errno : 0;
  close(directory);
  if (error == EIO) fail("is replaced, but its directory cannot be synced", error);
}

}  // namespace ml::files
