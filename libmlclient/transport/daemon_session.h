// A session with mld as far as every transport behind a daemon has it alike: HELLO, memory, the registry.
// session_protocol.h says what is said.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "libmlclient/transport/session_socket.h"
#include "libmlclient/transport/transport.h"

namespace ml::transport {

class DaemonSession {
 public:
  // Says HELLO. `offers`: protocol::kFeature* that this process can use.
  DaemonSession(UniqueFd connected, std::string name, const SessionOptions& options, std::uint64_t offers);

  SessionSocket& socket() { return socket_; }
  const std::string& device() const { return device_; }
  const std::string& fingerprint() const { return fingerprint_; }
  std::uint32_t generation() const { return generation_; }  // of the device's worker
  // Of the device's node in the kernel module; nothing when it has none, or none that was offered.
  std::optional<std::uint32_t> minor() const { return minor_; }

  // What descriptors name it by.
  std::uint32_t add_arena(protocol::Kind kind, std::uint64_t bytes, int fd);
  void remove_arena(std::uint32_t arena) noexcept;
  OpenedModel open_model(const std::string& reference);
  std::uint64_t register_model(const std::string& name, int file, std::uint64_t bytes, bool shared);

 private:
  SessionSocket socket_;
  std::string device_, fingerprint_;
  std::uint32_t generation_ = 0;
  std::optional<std::uint32_t> minor_;
};

// What is left for a transport to do: its queue.
class DaemonTransport : public Transport {
 public:
  // `name`: empty: what the session's socket is called.
  explicit DaemonTransport(std::unique_ptr<DaemonSession> session, const std::string& name = {})
      : session_(std::move(session)), name_(name.empty() ? session_->socket().name() : name) {}

  const std::string& name() const override { return name_; }
  const std::string& device() const override { return session_->device(); }
  std::string fingerprint() const override { return session_->fingerprint(); }
  bool shares_memory() const override { return true; }
  std::uint32_t add_arena(void*, std::uint64_t bytes, int fd) override {
    return session_->add_arena(protocol::Kind::add_arena, bytes, fd);
  }
  void remove_arena(std::uint32_t arena) noexcept override { session_->remove_arena(arena); }
  OpenedModel open_model(const std::string& reference) override { return session_->open_model(reference); }
  std::uint64_t register_model(const std::string& name, int file, std::uint64_t bytes, bool shared) override {
    return session_->register_model(name, file, bytes, shared);
  }
  void hang_up() noexcept override { session_->socket().hang_up(); }

 protected:
  static constexpr std::uint32_t kDepth = 256;
  const std::unique_ptr<DaemonSession> session_;

 private:
  const std::string name_;
};

// A queue that mld and the worker make, in memfds. `comes_back`: another session can be opened at the same place.
std::unique_ptr<Transport> make_unix(std::unique_ptr<DaemonSession> session, const SessionOptions& options,
                                     bool comes_back);
// A queue on the node that the session tells, which this process opens. `path`: the daemon's socket. Throws not_found,
// denied or invalid_argument when the node can't be used, device_lost when the worker has changed since HELLO.
std::unique_ptr<Transport> make_kernel(std::unique_ptr<DaemonSession> session, const std::string& path,
                                       const SessionOptions& options);
// The kernel's queue where there is a node that this process can use, else mld's.
std::unique_ptr<Transport> make_preferred(std::unique_ptr<DaemonSession> session, const std::string& path,
                                          const SessionOptions& options);

}  // namespace ml::transport
