// Where tensors are computed: a session with a worker that owns a device.
//
// Nobody has to make one: the first evaluation opens the default session, with the daemon (mld) where one listens at
// $XDG_RUNTIME_DIR/mlaccel/mld.sock or /run/mlaccel/mld.sock, through the kernel module where the device has a node
// that this process may open; else on a worker in this process. The environment variable MLACCEL chooses: "embedded",
// "unix:PATH" (a daemon, without the module), "kernel:N" (/dev/accel/accelN or /dev/dri/renderDN and its daemon) or
// "fd:N" (a session socket that was handed down).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ml/error.h"
#include "ml/export.h"

namespace ml {

struct SessionOptions {
  std::string transport;    // empty: $MLACCEL, or what is found
  std::string device;       // empty: $MLACCEL_DEVICE, or the default: "cpu"; "reference" is slow and obviously right.
                            // With a daemon the name of one of its devices, or a backend; by default it chooses
  int threads = 0;          // that one kernel may use; 0: $MLACCEL_THREADS, or the CPUs this process may run on. With a
                            // daemon, whose device decides, only the number that it has
  std::uint32_t depth = 0;  // of the queue, a power of two; 0: 256
};

struct SessionStatistics {
  std::uint64_t programs_compiled = 0;
  std::uint64_t programs_reused = 0;  // evaluations that found their program
  std::uint64_t executions = 0;
  std::uint64_t arena_bytes = 0;  // mapped for tensors
};

namespace client {
class SessionCore;
}

// A handle; copies are the same session. It ends when the last handle and the last tensor in it are gone.
class ML_API Session {
 public:
  const std::string& transport() const;  // "embedded", "unix:/run/mlaccel/mld.sock", "kernel:0"
  const std::string& device() const;     // "cpu"; with a daemon "cpu0"
  // What decides the bits of a result besides the program and its inputs: device, instructions, library versions and
  // threads. Equal texts, equal bits.
  std::string fingerprint() const;
  SessionStatistics statistics() const;
  // Waits until everything submitted so far is done.
  void synchronize() const;

  explicit Session(std::shared_ptr<client::SessionCore> core) noexcept : core_(std::move(core)) {}
  const std::shared_ptr<client::SessionCore>& core() const noexcept { return core_; }

 private:
  std::shared_ptr<client::SessionCore> core_;
};

// Opens the session that this process uses from now on. Throws not_found when libmlengine.so cannot be opened, no
// daemon listens where one was named or there is no such node, denied when this user may not open it, unsupported when
// the daemon doesn't use it, what a daemon says that refuses, and invalid_argument when a session is open already and
// other options are asked for. When its device is lost the session connects again with the next use, which throws
// device_lost if that does not succeed within 10 s. After fork() the child cannot use its parent's session: its
// evaluations throw device_lost.
ML_API Session connect(const SessionOptions& options = {});
// The session that tensors use, opened on first use.
ML_API Session default_session();

}  // namespace ml
