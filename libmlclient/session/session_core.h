// What a session is made of: memory for tensors, and a connection to a worker, which is made again when it is lost.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "libmlclient/session/arena.h"
#include "libmlclient/session/connection.h"
#include "ml/session.h"

namespace ml::client {

class SessionCore : public std::enable_shared_from_this<SessionCore> {
 public:
  explicit SessionCore(const SessionOptions& options);
  ~SessionCore();
  SessionCore(const SessionCore&) = delete;
  SessionCore& operator=(const SessionCore&) = delete;

  // The process's session, opened on first use. Throws device_lost in a forked child.
  static std::shared_ptr<SessionCore> current();
  // This process was forked from one that had a session.
  static bool in_forked_child() noexcept;
  static void check_process();

  // The connection, made again when it is lost. Throws device_lost when that does not succeed in time, and what a
  // daemon says that refuses.
  std::shared_ptr<Connection> connection();
  // The same, lost or not.
  std::shared_ptr<Connection> last_connection();

  // With what was left open filled in.
  const SessionOptions& options() const { return options_; }
  // A session opened with these options would be this one.
  bool fits(const SessionOptions& wanted) const;
  ArenaPool& arenas() { return *arenas_; }

  // Copies dense bytes between two storages of equal size.
  void copy(const std::shared_ptr<Storage>& to, const std::shared_ptr<Storage>& from);

  std::atomic<std::uint64_t> programs_compiled{0};
  std::atomic<std::uint64_t> programs_reused{0};
  std::atomic<std::uint64_t> executions{0};

 private:
  void connect_again();

  SessionOptions options_;
  std::string asked_device_;
  std::mutex connecting_;  // of the next two
  std::shared_ptr<Connection> connection_;
  std::optional<Error> refusal_;  // of the last attempt
  std::atomic<std::uint64_t> failed_attempts_{0};
  std::unique_ptr<ArenaPool> arenas_;
};

}  // namespace ml::client
