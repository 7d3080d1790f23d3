// What a session needs of a way to reach a worker: a queue, memory that the worker can name, and the registry's models.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "libmlclient/transport/client_ring.h"
#include "libmlclient/transport/memory_source.h"
#include "libmlclient/transport/unique_fd.h"
#include "ml/session.h"

namespace ml::transport {

// A model of the registry, as it was opened.
struct OpenedModel {
  mlring_handle program;
  std::uint64_t version = 0;
  UniqueFd file;  // readable
};

// May be used from several threads at once.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual const std::string& name() const = 0;    // what SessionOptions::transport would say
  virtual const std::string& device() const = 0;  // what SessionOptions::device would say
  // See Session::fingerprint().
  virtual std::string fingerprint() const = 0;
  virtual ClientRing& ring() = 0;

  // The worker is another process: it takes memory only as files that can't change their size.
  virtual bool shares_memory() const = 0;
  // What makes memory for it. It may outlive the transport.
  virtual std::shared_ptr<MemorySource> memory() = 0;
  // Lets descriptors name [base, base + bytes), base a multiple of 64. fd: what is mapped there, when the worker is
  // another process: a file of memory() or of sealed_memory(). Throws no_space when there are too many.
  virtual std::uint32_t add_arena(void* base, std::uint64_t bytes, int fd) = 0;
  // When it comes back the worker no longer uses this process's mapping.
  virtual void remove_arena(std::uint32_t arena) noexcept = 0;
  // An arena of a mapped file that programs go on using after it is removed, each holding `mapping`; nothing where the
  // worker is another process.
  virtual std::optional<std::uint32_t> add_file(std::span<const std::byte> file, std::shared_ptr<const void> mapping);

  // Throws unsupported when there is no daemon, and with it no registry.
  virtual OpenedModel open_model(const std::string& reference);
  // `file` is a memfd of `bytes` bytes, sealed against every change. Answers the version.
  virtual std::uint64_t register_model(const std::string& name, int file, std::uint64_t bytes, bool shared);

  // When the device is lost a new session may be opened in this one's place.
  virtual bool comes_back() const { return false; }
  // Opens it, with the options that this one was opened with but for what is filled in. `patience` (ns): so long a
  // daemon may take to come back.
  virtual std::unique_ptr<Transport> open_again(const SessionOptions& options, std::uint64_t patience);
  // Ends the session at once; the ring ends with it.
  virtual void hang_up() noexcept {}
};

// Opens the transport that `options.transport` names: "embedded", "unix:PATH", "fd:N" or "kernel:N"; empty: a daemon
// where one listens, through the kernel module where that can be used, else "embedded". Throws invalid_argument for any
// other name and for options that the device does not have, and what a daemon says that refuses. `patience` (ns): so
// long a daemon may take to come back.
std::unique_ptr<Transport> open_transport(const SessionOptions& options, std::uint64_t patience = 0);
std::unique_ptr<Transport> open_embedded(const SessionOptions& options);
std::unique_ptr<Transport> open_unix(const std::string& path, const SessionOptions& options, std::uint64_t patience);
// The node /dev/accel/accelN or /dev/dri/renderDN of the kernel module, and the daemon that it names. Throws not_found
// when there is no such node or no daemon, denied when this user may not open it, invalid_argument when it is another
// driver's, again while its device has no worker, unsupported when the daemon doesn't use it.
std::unique_ptr<Transport> open_kernel(std::uint32_t minor, const SessionOptions& options);
// A session socket that this process was given. It becomes the transport's.
std::unique_ptr<Transport> open_fd(int fd, const SessionOptions& options);
// The daemon that people mean who name none, at $XDG_RUNTIME_DIR/mlaccel/mld.sock or /run/mlaccel/mld.sock. Null when
// nothing listens there; one that listens and refuses is an error.
std::unique_ptr<Transport> open_daemon(const SessionOptions& options);

}  // namespace ml::transport
