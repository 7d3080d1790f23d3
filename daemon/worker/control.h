// The control thread of a worker process: it takes mld's requests from the socket and answers them. It never waits for
// a client's work: what may take long is begun here and answered when it is over.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "daemon/worker/kernel_device.h"
#include "daemon/worker/models.h"
#include "daemon/workers/worker_protocol.h"
#include "engine/runtime/worker.h"
#include "libmlclient/transport/seqpacket.h"
#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

class KernelLedger;

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
    std::shared_ptr<KernelLedger> ledger;  // once it has a queue of the kernel's
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
  void open_kernel_queue(const worker_protocol::OpenKernelQueue& wanted, transport::Packet& packet);
  runtime::QueueOptions options_of_queue(std::uint64_t session, std::int32_t priority);
  void check_queue_is_new(const Session& session, std::uint32_t queue) const;
  void session_failed(std::uint64_t session, std::uint32_t fault, Code code);
  void add_arena(const worker_protocol::AddArena& wanted, transport::Packet& packet);
  void add_kernel_arena(const worker_protocol::AddArena& wanted, transport::Packet& packet);
  void remove_arena(const worker_protocol::RemoveArena& wanted, transport::Packet& packet);
  void load_model(const worker_protocol::LoadModel& wanted, transport::Packet& packet);
  void open_model(const worker_protocol::OpenModel& wanted, transport::Packet& packet);
  void unload_model(const worker_protocol::UnloadModel& wanted, transport::Packet& packet);
  void set_weight(const worker_protocol::SetWeight& wanted, transport::Packet& packet);
  void statistics(const worker_protocol::Statistics& wanted, transport::Packet& packet);

  void use_kernel(transport::UniqueFd file);
  KernelDevice& kernel() const;
  void free_memory(const mlaccel_event& wanted);

  int socket_;
  transport::UniqueFd posted_;  // eventfd
  std::mutex mutex_;
  std::vector<std::function<void()>> actions_;  // posted

  bool stopped_ = false;                  // the kernel says that this worker is none any more
  std::unique_ptr<KernelDevice> kernel_;  // null: the device is not registered with the module
  std::unique_ptr<runtime::Worker> worker_;
  std::unique_ptr<Models> models_;
  std::map<std::uint64_t, Session> sessions_;
};

template <class T>
void Control::answer(std::uint64_t request, worker_protocol::Kind kind, T message, std::string_view text,
                     std::span<const int> fds) {
  message.header = {};
  message.header.kind = static_cast<std::uint32_t>(kind);
  message.header.request = request;
  check_sent(transport::send_message(socket_, message, text, fds));
}

}  // namespace ml::daemon
