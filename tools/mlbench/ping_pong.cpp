#include "tools/mlbench/ping_pong.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "kernel/uapi/mlaccel_ring.h"
#include "ml/error.h"
#include "tools/mlbench/bench.h"

namespace ml::bench {
namespace {

using Message = std::array<char, sizeof(mlring_descriptor)>;

[[noreturn]] void refuse(const char* what) { throw Error(Code::io, std::string(what) + ": " + std::strerror(errno)); }

void transfer(ssize_t done, std::size_t bytes) {
  if (done != static_cast<ssize_t>(bytes)) refuse("ping-pong");
}

void echo(int socket) {
  Message message;
  while (read(socket, message.data(), message.size()) == static_cast<ssize_t>(message.size()))
    transfer(write(socket, message.data(), message.size()), message.size());
}

}  // namespace

EventfdPingPong::EventfdPingPong(int cpu) : to_(eventfd(0, EFD_CLOEXEC)), from_(eventfd(0, EFD_CLOEXEC)) {
  if (to_ < 0 || from_ < 0) refuse("eventfd");
  thread_ = std::thread([this, cpu] {
    pin(cpu);
    for (uint64_t value = 0; read(to_, &value, sizeof value) == sizeof value && value == 1;)
      transfer(write(from_, &value, sizeof value), sizeof value);
  });
}

EventfdPingPong::~EventfdPingPong() {
  const uint64_t stop = 2;
  [[maybe_unused]] const ssize_t written = write(to_, &stop, sizeof stop);
  thread_.join();
  close(to_);
  close(from_);
}

void EventfdPingPong::round_trip() {
  uint64_t value = 1;
  transfer(write(to_, &value, sizeof value), sizeof value);
  transfer(read(from_, &value, sizeof value), sizeof value);
}

SocketPingPong::SocketPingPong(int cpu, With with) {
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_) != 0) refuse("socketpair");
  if (with == With::thread) {
    thread_ = std::thread([this, cpu] {
      pin(cpu);
      echo(ends_[1]);
    });
    return;
  }
  process_ = fork();
  if (process_ < 0) refuse("fork");
  if (process_ > 0) return;
  close(ends_[0]);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    pin(cpu);
    echo(ends_[1]);
  } catch (const Error&) {
    _exit(1);  // the other end sees the socket hang up
  }
  _exit(0);
}

SocketPingPong::~SocketPingPong() {
  shutdown(ends_[0], SHUT_RDWR);
  if (thread_.joinable()) thread_.join();
  if (process_ > 0) waitpid(process_, nullptr, 0);
  close(ends_[0]);
  close(ends_[1]);
}

void SocketPingPong::round_trip() {
  Message message{};
  transfer(write(ends_[0], message.data(), message.size()), message.size());
  transfer(read(ends_[0], message.data(), message.size()), message.size());
}

}  // namespace ml::bench
