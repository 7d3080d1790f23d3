// A second process that writes into memory it shares with this one until it is stopped, as a hostile client would.
// Being another process, it races with nothing that a thread sanitizer watches, and with everything else.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <random>
#include <stdexcept>

namespace ml::test {

class HostileProcess {
 public:
  // Calls write(random) again and again in the other process.
  template <class Write>
  HostileProcess(std::uint64_t seed, Write write) : process_(fork()) {
    if (process_ < 0) throw std::runtime_error("fork");
    if (process_ != 0) return;
    std::minstd_rand random(static_cast<std::uint32_t>(seed));
    while (getppid() != 1) {
      for (int i = 0; i < 1000; ++i) write(random);
    }
    _exit(0);
  }
  ~HostileProcess() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  HostileProcess(const HostileProcess&) = delete;
  HostileProcess& operator=(const HostileProcess&) = delete;

 private:
  pid_t process_;
};

template <class T>
void write_shared(T* at, T value) {
  __atomic_store_n(at, value, __ATOMIC_RELAXED);
}

}  // namespace ml::test
