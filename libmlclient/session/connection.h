// One life of a session: a transport, its queue, and what its worker holds for this process. When the worker or mld
// dies the connection is lost for good, and with it its programs and device memory; SessionCore makes another one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "libmlclient/session/queue.h"
#include "libmlclient/tensor/program_cache.h"
#include "libmlclient/transport/transport.h"

namespace ml::client {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // Generations count up from 1.
  Connection(std::unique_ptr<transport::Transport> transport, std::uint32_t generation);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  transport::Transport& transport() { return *transport_; }
  Queue& queue() { return queue_; }
  ProgramCache& programs() { return programs_; }
  std::uint32_t generation() const { return generation_; }

  // The worker is gone. Calls the system only when nothing has been heard of it for a while.
  bool lost() { return queue_.lost(); }
  // Fails everything that is under way and ends the session.
  void end();
  [[noreturn]] void throw_lost() const;

  // Submits behind the frees that are due. Throws device_lost when the connection is.
  void submit(const std::shared_ptr<Pending>& pending, const mlring_descriptor& descriptor);
  // Submits, waits and throws what went wrong.
  std::shared_ptr<Pending> run(const mlring_descriptor& descriptor);
  // Frees memory or a program with the next submission: never blocks.
  void free_later(mlring_handle handle) noexcept;

 private:
  void submit_frees();

  std::unique_ptr<transport::Transport> transport_;
  std::uint32_t generation_;
  Queue queue_;
  ProgramCache programs_;
  std::mutex freeing_;
  std::vector<mlring_handle> to_free_;
  std::atomic<bool> any_to_free_{false};
};

}  // namespace ml::client
