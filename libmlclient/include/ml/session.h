// Where tensors are computed: a session with a worker that owns a device.
//
// Nobody has to make one: the first evaluation opens the default session, on a worker in this process. The environment
// variable MLACCEL chooses another transport: "embedded" (the default), "unix:PATH" or "kernel:N".
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ml/error.h"
#include "ml/export.h"

namespace ml {

struct SessionOptions {
  std::string transport;    // empty: $MLACCEL, or "embedded"
  std::string device;       // empty: $MLACCEL_DEVICE, or "cpu"; "reference" is slow and obviously right
  int threads = 0;          // that one kernel may use; 0: $MLACCEL_THREADS, or the CPUs this process may run on
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
  const std::string& transport() const;  // "embedded"
  const std::string& device() const;
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

// Opens the session that this process uses from now on. Throws unsupported for a transport that this version does not
// have, not_found when libmlengine.so cannot be opened, and invalid_argument when a session is open already and other
// options are asked for. After fork() the child cannot use its parent's session: its evaluations throw device_lost.
ML_API Session connect(const SessionOptions& options = {});
// The session that tensors use, opened on first use.
ML_API Session default_session();

}  // namespace ml
