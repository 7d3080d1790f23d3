#include "daemon/service/listening_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "ml/error.h"

namespace ml::daemon {
namespace {

using transport::UniqueFd;

constexpr int kFirstActivated = 3;

[[noreturn]] void refuse(const std::string& what, const std::string& path, const char* hint = "") {
  throw Error(Code::io, what + ": " + std::strerror(errno), path, hint);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

UniqueFd make_socket(int type, const std::string& path) {
  UniqueFd made(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) refuse("socket", path);
  return made;
}

void make_folder(const std::string& path, mode_t mode) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const mode_t folder_mode = (mode & 0077) == 0 ? 0700 : 0755;
  if (mkdir(folder.c_str(), folder_mode) == 0) {
    if (chmod(folder.c_str(), folder_mode) != 0) refuse("can't set the mode of the socket's folder", folder);
  } else if (errno != EEXIST) {
    refuse("can't make the socket's folder", folder, "name another place with --socket");
  }
}

// Whether the process that listens there has ended. Its socket may outlive it for a moment: the kernel takes an
// io_uring and what it polls apart behind its back.
bool listener_ended(int connected) {
  ucred listener{};
  socklen_t bytes = sizeof listener;
  if (getsockopt(connected, SOL_SOCKET, SO_PEERCRED, &listener, &bytes) != 0 || listener.pid <= 0) return false;
  const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, listener.pid, 0)));
  if (!process) return errno == ESRCH;
  pollfd ended{process.get(), POLLIN, 0};
  return poll(&ended, 1, 0) == 1;
}

// Whether somebody would take a connection there.
bool answered(const std::string& path, int type) {
  const UniqueFd probe = make_socket(type, path);
  const sockaddr_un address = address_of(path);
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno != ECONNREFUSED;
  return !listener_ended(probe.get());
}

}  // namespace

ListeningSocket::ListeningSocket(const std::string& path, int type, mode_t mode) {
  make_folder(path, mode);
  UniqueFd made = make_socket(type, path);
  // Two daemons that start at once don't take each other's socket for a dead one's.
  const UniqueFd folder(open(std::filesystem::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder) flock(folder.get(), LOCK_EX | LOCK_NB);
  struct stat status {};
  if (lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode))
      throw Error(Code::io, "something that is no socket lies there", path, "name another place with --socket");
    if (answered(path, type))
      throw Error(Code::again, "another mld listens there", path, "stop it first, or name another place with --socket");
    if (unlink(path.c_str()) != 0) refuse("can't remove the socket of a daemon that has ended", path);
  }
  const sockaddr_un address = address_of(path);
  if (bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    refuse("can't make the socket", path, "name another place with --socket");
  if (chmod(path.c_str(), mode) != 0 || lstat(path.c_str(), &status) != 0) refuse("can't set the socket's mode", path);
  path_ = path;
  device_ = status.st_dev;
  inode_ = status.st_ino;
  if (listen(made.get(), SOMAXCONN) != 0) refuse("listen", path);
  fd = std::move(made);
}

ListeningSocket::~ListeningSocket() {
  struct stat status {};
  if (!path_.empty() && lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
    unlink(path_.c_str());
}

ListeningSocket& ListeningSocket::operator=(ListeningSocket&& other) noexcept {
  std::swap(fd, other.fd);
  std::swap(path_, other.path_);
  std::swap(device_, other.device_);
  std::swap(inode_, other.inode_);
  return *this;
}

std::vector<UniqueFd> activated_sockets(int type) {
  const char* const pid = std::getenv("LISTEN_PID");
  const char* const count = std::getenv("LISTEN_FDS");
  std::vector<UniqueFd> found;
  if (pid == nullptr || count == nullptr || std::to_string(getpid()) != pid) return found;
  for (int fd = kFirstActivated; fd < kFirstActivated + std::atoi(count); ++fd) {
    int its_type = 0, listens = 0, domain = 0;
    socklen_t size = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_UNIX ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &its_type, &size) != 0 || its_type != type ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0)
      continue;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    found.emplace_back(fd);
  }
  return found;
}

}  // namespace ml::daemon
