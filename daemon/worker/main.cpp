// mld-worker: owns a device. mld starts it with its end of a socket pair as fd 3; it is of no use by hand.
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <thread>

#include "daemon/worker/control.h"
#include "daemon/worker/sandbox.h"

namespace ml::daemon {
namespace {

constexpr int kFailed = 1;

bool started_by_mld() {
  int type = 0;
  socklen_t size = sizeof type;
  return getsockopt(worker_protocol::kSocketFd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

// Ends the process when mld hangs up, whatever the other threads do then.
void watch_mld() {
  pollfd socket{worker_protocol::kSocketFd, 0, 0};
  while (poll(&socket, 1, -1) <= 0) {
  }
  _exit(0);
}

// Every queue has files, and mld has counted them.
void allow_many_files() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace
}  // namespace ml::daemon

int main() {
  using namespace ml::daemon;
  if (!started_by_mld()) {
    std::fputs("mld-worker: mld starts this program; run 'mld' or 'mld --user'\n", stderr);
    return 2;
  }
  std::unique_ptr<Control> control;  // never destroyed: its executors may be busy for long with what is nobody's now
  try {
    allow_many_files();
    if (!give_up_files()) {
      std::fputs("mld-worker: this kernel has no Landlock; files are kept out of reach by seccomp alone\n", stderr);
    }
    std::thread(watch_mld).detach();
    control = std::make_unique<Control>(worker_protocol::kSocketFd);
    control->run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mld-worker: %s\n", error.what());
    _exit(kFailed);
  }
  _exit(0);
}
