// Where the elements of an evaluated tensor lie: in a region of an arena, or in device memory behind a handle.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "libmlclient/session/arena.h"
#include "libmlclient/session/queue.h"

namespace ml::client {

class SessionCore;

// Shared by the tensors that look at it and by the executions that use it.
class Storage {
 public:
  // `bytes` of arena memory, undefined content.
  static std::shared_ptr<Storage> in_arena(std::shared_ptr<SessionCore> session, std::uint64_t bytes);
  // `bytes` of zeroed device memory at an address that never changes. It is lost with its connection.
  static std::shared_ptr<Storage> on_device(std::shared_ptr<SessionCore> session,
                                            std::shared_ptr<Connection> connection, std::uint64_t bytes);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  const std::shared_ptr<SessionCore>& session() const noexcept { return session_; }
  std::uint64_t bytes() const noexcept { return bytes_; }
  bool in_arena() const noexcept { return region_.arena != nullptr; }
  std::byte* host() const noexcept { return region_.host; }  // null for device memory

  const std::shared_ptr<Connection>& connection() const noexcept { return connection_; }  // of device memory
  bool lost() const;                                                                      // device memory that is gone

  // Names this memory in an argument record (arena or handle, offset, capacity) of a descriptor of `connection`. Throws
  // device_lost for device memory of another one.
  void name_in(mlring_argument& argument, Connection& connection) const;
  // A lost worker may still write to it: its place is not used again.
  void forsake() noexcept { forsaken_.store(true, std::memory_order_relaxed); }

  // The execution that fills it, if it may be under way.
  std::shared_ptr<Pending> pending() const;
  void set_pending(std::shared_ptr<Pending> pending);
  // Waits until it is filled; throws what went wrong.
  void wait() const;

  // Counts up when a training step updates it in place: values that were put there before are gone.
  std::uint64_t version() const noexcept { return version_.load(std::memory_order_acquire); }
  void updated_in_place() noexcept { version_.fetch_add(1, std::memory_order_acq_rel); }

 private:
  Storage(std::shared_ptr<SessionCore> session, std::uint64_t bytes) : session_(std::move(session)), bytes_(bytes) {}

  std::shared_ptr<SessionCore> session_;
  std::uint64_t bytes_;
  Region region_;
  std::shared_ptr<Connection> connection_;
  mlring_handle handle_{};
  std::atomic<bool> forsaken_{false};
  std::atomic<std::uint64_t> version_{0};
  mutable std::mutex mutex_;
  mutable std::shared_ptr<Pending> pending_;
};

}  // namespace ml::client
