// What a worker does with queues and memory of the kernel module, and what the module asks of it.
#include <unistd.h>

#include <string>
#include <utility>

#include "daemon/worker/control.h"
#include "daemon/worker/kernel_ledger.h"

namespace ml::daemon {

namespace wire = worker_protocol;
using transport::Packet;

void Control::use_kernel(transport::UniqueFd file) {
  KernelDevice::Listener listener;
  listener.queue_failed = [this](std::uint64_t session, Code code) {
    post([this, session, code] {
      session_failed(session, code == Code::corrupt ? MLRING_FAULT_SUBMISSION_TAIL : MLRING_FAULT_NONE, code);
    });
  };
  listener.memory_wanted = [this](const mlaccel_event& wanted) { post([this, wanted] { free_memory(wanted); }); };
  listener.stopped = [this] { post([this] { stopped_ = true; }); };
  kernel_ = std::make_unique<KernelDevice>(std::move(file), std::move(listener));
}

KernelDevice& Control::kernel() const {
  if (kernel_) return *kernel_;
  throw Error(Code::unsupported, "this device is not registered with the kernel module", {},
              "open a queue of the unix transport");
}

void Control::open_kernel_queue(const wire::OpenKernelQueue& wanted, Packet& packet) {
  Session& session = find(wanted.session);
  check_queue_is_new(session, wanted.queue);
  const auto pages = std::make_shared<KernelPages>(kernel(), packet.fds[0].get());
  packet.fds.clear();
  const mlaccel_queue_map& info = pages->info();
  if (info.uid != session.session->limits.user)
    throw Error(Code::denied, "the queue is of user " + std::to_string(info.uid), "OPEN_KERNEL_QUEUE",
                "a session takes its own user's queues alone");
  if (info.depth != wanted.depth)
    throw Error(
        Code::invalid_argument,
        "the queue has depth " + std::to_string(info.depth) + " and was said to have " + std::to_string(wanted.depth),
        "OPEN_KERNEL_QUEUE");
  if (!session.ledger) {
    session.ledger = std::make_shared<KernelLedger>(kernel());
    worker_->set_ledger(*session.session, session.ledger);
  }
  runtime::Queue& queue = worker_->attach_queue(*session.session, std::make_unique<KernelQueue>(pages),
                                                options_of_queue(wanted.session, info.priority));
  session.queues[wanted.queue] = &queue;
  session.ledger->add_payer(pages);
  wire::QueueOpened opened{};
  opened.handle = queue.handle;
  opened.kernel_client = info.client;
  answer(packet.request(), wire::Kind::queue_opened, opened);
}

void Control::add_kernel_arena(const wire::AddArena& wanted, Packet& packet) {
  runtime::Session& session = *find(wanted.session).session;
  void* const base = kernel().map_arena(packet.fds[0].get(), wanted.bytes, session.limits.user);
  packet.fds.clear();
  wire::ArenaAdded added{};
  added.arena = worker_->add_mapped_arena(session, base, wanted.bytes);
  answer(packet.request(), wire::Kind::arena_added, added);
}

// Of the user's sessions the oldest first: what was asked for long ago is the least likely to be needed next.
void Control::free_memory(const mlaccel_event& wanted) {
  std::uint64_t freed = 0;
  for (auto& [number, session] : sessions_) {
    if (freed >= wanted.bytes) break;
    if (session.ledger && session.ledger->charged_to(wanted.uid)) freed += session.ledger->evict(wanted.bytes - freed);
  }
  kernel_->freed(wanted.request);
}

}  // namespace ml::daemon
