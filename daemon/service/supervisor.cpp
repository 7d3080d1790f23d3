#include "daemon/service/supervisor.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "ml/error.h"

namespace ml::daemon {

using transport::UniqueFd;

void notify_supervisor(const std::string& state) {
  const char* const name = std::getenv("NOTIFY_SOCKET");
  if (name == nullptr) return;
  const std::string_view path = name;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() < 2 || path.size() >= sizeof address.sun_path) return;
  path.copy(address.sun_path, path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';  // an abstract one
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (socket)
    sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), bytes);
}

UniqueFd lock_state_directory(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    throw Error(Code::io, "can't make the state directory: " + error.message(), directory,
                "name another one with --state");
  const std::string path = directory + "/lock";
  UniqueFd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock)
    throw Error(Code::io, std::string("can't open it: ") + std::strerror(errno), path, "name another one with --state");
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    std::array<char, 16> pid{};
    const ssize_t got = pread(lock.get(), pid.data(), pid.size(), 0);
    const std::string who = got > 1 ? " (pid " + std::string(pid.data(), static_cast<std::size_t>(got) - 1) + ")" : "";
    throw Error(Code::again, "another mld" + who + " uses this state directory", directory,
                "stop it first, or name another one with --state");
  }
  const std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(lock.get(), 0) != 0 ||
      pwrite(lock.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()))
    throw Error(Code::io, std::string("can't write it: ") + std::strerror(errno), path);
  return lock;
}

void set_process_limits() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  const rlimit none{};
  setrlimit(RLIMIT_CORE, &none);
}

}  // namespace ml::daemon
