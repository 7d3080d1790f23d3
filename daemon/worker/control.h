// The control thread of a worker process: it takes mld's requests from the socket and answers them. It never waits for
// a client's work: what may take long is begun here and answered when it is over.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "daemon/worker/models.h"
#include "daemon/workers/worker_protocol.h"
#include "engine/runtime/worker.h"
#include "libmlclient/transport/seqpacket.h"
#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

class Control {
 public:
  // `socket` is the worker's end of its socket to mld.
  explicit Control(int socket);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  // Until mld hangs up. Throws io when mld sends what is no packet.
  void run();

 private:
  struct Session {
    runtime::Session* session;
    std::map<std::uint32_t, runtime::Queue*> queues;
  };

  // From any thread: runs it on this one.
  void post(std::function<void()> action);
  void run_posted();

  void take(transport::Packet& packet);
  void dispatch(transport::Packet& packet);
  template <class T>
  void on(transport::Packet& packet, std::size_t fds, void (Control::*handle)(const T&, transport::Packet&));
  template <class T>
  void answer(std::uint64_t request, worker_protocol::Kind kind, T message, std::string_view text = {},
              std::span<const int> fds = {});
  void done(std::uint64_t request);
  void fail(std::uint64_t request, const Error& error);
  void check_sent(bool sent);
  Session& find(std::uint64_t session);

  void configure(const worker_protocol::Configure& wanted, transport::Packet& packet);
  void open_session(const worker_protocol::OpenSession& wanted, transport::Packet& packet);
  void close_session(const worker_protocol::CloseSession& wanted, transport::Packet& packet);
  void open_queue(const worker_protocol::OpenQueue& wanted, transport::Packet& packet);
  void close_queue(const worker_protocol::CloseQueue& wanted, transport::Packet& packet);
  void queue_faulted(std::uint64_t session, std::uint32_t fault);
  void add_arena(const worker_protocol::AddArena& wanted, transport::Packet& packet);
  void remove_arena(const worker_protocol::RemoveArena& wanted, transport::Packet& packet);
  void load_model(const worker_protocol::LoadModel& wanted, transport::Packet& packet);
  void open_model(const worker_protocol::OpenModel& wanted, transport::Packet& packet);
  void unload_model(const worker_protocol::UnloadModel& wanted, transport::Packet& packet);
  void set_weight(const worker_protocol::SetWeight& wanted, transport::Packet& packet);
  void statistics(const worker_protocol::Statistics& wanted, transport::Packet& packet);

  int socket_;
  transport::UniqueFd posted_;  // eventfd
  std::mutex mutex_;
  std::vector<std::function<void()>> actions_;  // posted

  std::unique_ptr<runtime::Worker> worker_;
  std::unique_ptr<Models> models_;
  std::map<std::uint64_t, Session> sessions_;
};

}  // namespace ml::daemon
