// A file system that fills up: a tmpfs in a mount namespace of a child's own, so nobody else sees it and no rights are
// needed where users may have namespaces.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>

namespace ml::test {

// In the child: ends it with the reason unless `holds`.
inline void require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s (errno %d)\n", what.c_str(), errno);
  std::_Exit(1);
}

inline void write_line(const char* path, const std::string& text) {
  const int file = open(path, O_WRONLY | O_CLOEXEC);
  require(write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && close(file) == 0, path);
}

// Leaves no room on the file system of `path`, a new file there.
inline void fill_disk(const std::string& path) {
  const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  require(file >= 0, "the filler opens");
  const std::string block(4096, 'f');
  while (write(file, block.data(), block.size()) > 0) {
  }
  require(errno == ENOSPC, "the disk is full");
  close(file);
}

// Runs `scenario` in a child that sees a file system of that size ("1m") at `folder`. Answers whether it came to its
// end without a broken requirement or exception.
inline bool on_small_disk(const std::string& folder, const std::string& size, const std::function<void()>& scenario) {
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    try {
      const uid_t self = getuid();
      const gid_t group = getgid();
      require(unshare(self == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) == 0, "a mount namespace is made");
      if (self != 0) {  // files can belong to somebody only once this user and group have numbers in there
        write_line("/proc/self/setgroups", "deny");
        write_line("/proc/self/uid_map", "0 " + std::to_string(self) + " 1");
        write_line("/proc/self/gid_map", "0 " + std::to_string(group) + " 1");
      }
      require(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "its mounts are its own");
      require(mount("none", folder.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0, "a tmpfs is mounted");
      scenario();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::_Exit(2);
    }
    std::_Exit(0);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace ml::test
