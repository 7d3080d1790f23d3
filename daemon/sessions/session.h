// One client's session: what it says on its socket, what it holds, and its end.
//
// Life: the socket is accepted -> HELLO -> its worker is asked for a session -> WELCOME -> requests. It ends because
// the client went away, because mld or the worker ended it (the client gets ERROR with request 0 and the socket stays
// open until the worker has let go of everything, so that no late result meets memory that the client uses again), or
// because its worker died (the client gets DEVICE_LOST, and closes). What it holds is charged until the worker is done.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "daemon/sessions/culprits.h"
#include "daemon/sessions/disposal.h"
#include "daemon/sessions/outbox.h"
#include "daemon/sessions/queue_pages.h"
#include "daemon/sessions/sessions.h"
#include "libmlclient/transport/seqpacket.h"

namespace ml::daemon {

// What sessions need of the rest of mld; outlives them.
struct SessionEnvironment {
  Loop& loop;
  const Config& config;
  Limits& limits;
  Devices& devices;
  Registry& registry;
  runtime::EventBell& bell;
  Culprits& culprits;
  Disposal& disposal;
  std::function<void(std::uint64_t session)> ended;  // nothing of it is left; destroys it
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  // `refusal`: what HELLO is answered with. `job`: the session of a job's process. Counted against the limit of
  // sessions unless it is one of these two.
  Session(SessionEnvironment& environment, std::uint64_t id, transport::UniqueFd socket, const Peer& peer,
          std::optional<Error> refusal, std::optional<JobSession> job);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void start();  // begins to listen to the client
  bool refused() const { return refusal_.has_value(); }
  bool welcomed() const { return phase_ == Phase::open || phase_ == Phase::lost; }
  WorkerProcess* worker() const { return worker_; }
  const ProcessIdentity& process() const { return process_; }
  const Peer& peer() const { return peer_; }
  SessionInfo info() const;

  void device_ready();                       // tries again what waits for a worker
  void worker_died(const std::string& how);  // its worker; nothing of it runs any more
  void end(const Error& error);              // from our side

 private:
  enum class Phase { greeting, waiting, opening, open, lost, closing };
  struct Queue {
    std::unique_ptr<QueuePages> pages;  // null: the kernel's
    std::uint32_t depth;
    bool open = false;  // the client has it, and has not closed it
  };
  // What is counted against the uid for it.
  struct Charges {
    std::uint64_t sessions = 0, queues = 0, arenas = 0, arena_bytes = 0;
  };

  void ready(std::uint32_t events);
  void listen_again();
  void handle(transport::Packet& packet);
  void read_hello(const transport::Packet& packet);
  void find_worker();
  bool worker_may_come() const;
  void refuse_hello(const Error& error);
  void open_at_worker();
  void welcome();
  void open_queue(const transport::Packet& packet);
  void queue_opened(std::uint32_t id, std::uint64_t request, transport::Packet* answer, const Error* error);
  void open_kernel_queue(transport::Packet& packet);
  void kernel_queue_opened(std::uint32_t id, std::uint64_t request, transport::Packet* answer, const Error* error);
  void charge_queue(std::uint32_t depth);
  void discharge_queue(std::uint32_t depth);
  void close_queue(const transport::Packet& packet);
  void add_arena(transport::Packet& packet);
  void add_kernel_arena(transport::Packet& packet);
  void charge_arena(std::uint64_t bytes);
  void arena_added(std::uint64_t request, std::uint64_t bytes, transport::Packet* answer, const Error* error);
  void remove_arena(const transport::Packet& packet);
  void open_model(const transport::Packet& packet);
  void register_model(transport::Packet& packet);

  // A continuation of a request: runs only while the session is open still.
  template <class F>
  auto later(F run) {
    return [weak = weak_from_this(), run = std::move(run)](auto&&... arguments) {
      const auto self = weak.lock();
      if (self && self->phase_ != Phase::closing) run(*self, std::forward<decltype(arguments)>(arguments)...);
    };
  }
  template <class T>
  void answer(std::uint64_t request, transport::protocol::Kind kind, T message, std::string_view text = {},
              std::span<const int> fds = {}) {
    message.header.kind = static_cast<std::uint32_t>(kind);
    message.header.request = request;
    send(std::as_writable_bytes(std::span(&message, 1)), text, fds);
    if (request != 0) --unanswered_;
    listen_again();
  }
  void done(std::uint64_t request);
  void fail(std::uint64_t request, const Error& error);  // answers ERROR; the session goes on
  void send(std::span<std::byte> message, std::string_view text, std::span<const int> fds);

  void take(Resource resource, std::uint64_t Charges::*charge, std::uint64_t amount);
  void give(Resource resource, std::uint64_t Charges::*charge, std::uint64_t amount);
  void give_all();
  void end_queues(std::uint32_t state);
  void leave_device();
  void client_gone();
  void begin_closing();
  void finish();

  SessionEnvironment& environment_;
  std::uint64_t id_;
  transport::UniqueFd socket_;
  Peer peer_;
  ProcessIdentity process_;
  std::optional<Error> refusal_;
  std::optional<JobSession> job_;
  std::uint64_t connected_at_;

  Phase phase_ = Phase::greeting;
  std::string client_, wanted_, purpose_, device_;
  std::uint64_t hello_request_ = 0;
  WorkerProcess* worker_ = nullptr;
  bool on_device_ = false;  // counted there
  std::uint32_t version_ = 0;
  std::uint64_t features_ = 0;       // offered, then granted
  std::uint64_t kernel_client_ = 0;  // number of its file there
  std::uint32_t generation_ = 0;     // of its worker
  std::map<std::uint32_t, Queue> queues_;
  std::uint32_t last_queue_ = 0;
  std::map<std::uint32_t, std::uint64_t> arenas_;  // bytes of each
  Charges charges_;

  Outbox outbox_;
  std::uint32_t unanswered_ = 0;
  std::uint32_t watched_ = 0;
  Loop::TimerId patience_ = 0;  // 0: nothing has to happen soon
};

}  // namespace ml::daemon
