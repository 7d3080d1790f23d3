// What a session is made of: a transport, its queue, memory and the programs compiled so far.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libmlclient/session/arena.h"
#include "libmlclient/session/queue.h"
#include "libmlclient/tensor/program_cache.h"
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

  const std::string& transport_name() const { return transport_->name(); }
  const std::string& device() const { return transport_->device(); }
  std::string fingerprint() const { return transport_->fingerprint(); }
  const SessionOptions& options() const { return options_; }
  transport::Transport& transport() { return *transport_; }
  ArenaPool& arenas() { return *arenas_; }
  Queue& queue() { return *queue_; }
  ProgramCache& programs() { return programs_; }

  // Submits behind the frees that are due.
  void submit(const std::shared_ptr<Pending>& pending, const mlring_descriptor& descriptor);
  // Submits, waits and throws what went wrong.
  std::shared_ptr<Pending> run(const mlring_descriptor& descriptor);
  // Frees memory or a program with the next submission: never blocks.
  void free_later(mlring_handle handle) noexcept;
  // Copies dense bytes between two storages of equal size.
  void copy(const std::shared_ptr<Storage>& to, const std::shared_ptr<Storage>& from);

  std::atomic<std::uint64_t> programs_compiled{0};
  std::atomic<std::uint64_t> programs_reused{0};
  std::atomic<std::uint64_t> executions{0};

 private:
  void submit_frees();

  SessionOptions options_;
  std::unique_ptr<transport::Transport> transport_;
  std::unique_ptr<ArenaPool> arenas_;
  std::unique_ptr<Queue> queue_;
  ProgramCache programs_;
  std::mutex freeing_;
  std::vector<mlring_handle> to_free_;
  std::atomic<bool> any_to_free_{false};
};

}  // namespace ml::client
