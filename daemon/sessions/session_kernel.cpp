// Queues and memory of the kernel module: a client hands over a file that it got there, and the worker looks at it. mld
// counts and passes on. It keeps its own file until the worker has answered, and closes it on a thread that may wait:
// nobody has looked yet at what kind of file it is, and closing some takes for ever.
#include <memory>
#include <utility>

#include "daemon/sessions/request.h"
#include "daemon/sessions/session.h"

namespace ml::daemon {
namespace {

namespace protocol = transport::protocol;
using protocol::Kind;
using transport::Packet;

class Kept {
 public:
  Kept(Disposal& disposal, uid_t uid, Packet& packet)
      : disposal_(disposal), uid_(uid), files_(std::exchange(packet.fds, {})) {}
  ~Kept() { disposal_.close(uid_, std::move(files_)); }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
  int file() const { return files_[0].get(); }

 private:
  Disposal& disposal_;
  uid_t uid_;
  std::vector<transport::UniqueFd> files_;
};

void must_be_granted(std::uint64_t features) {
  if ((features & protocol::kFeatureKernel) == 0)
    violated("a queue or memory of the kernel module was not agreed upon");
}

}  // namespace

void Session::open_kernel_queue(Packet& packet) {
  const auto message = message_in<protocol::OpenKernelQueue>(packet, 1);
  must_be_granted(features_);
  must_be_zero(message.reserved);
  if (!mlring_depth_ok(message.depth))
    throw Error(Code::invalid_argument,
                "depth " + std::to_string(message.depth) + " is not a power of two within bounds", "OPEN_KERNEL_QUEUE",
                "say the depth that the queue was made with");
  charge_queue(message.depth);
  queues_[++last_queue_] = {nullptr, message.depth};
  auto request = to_worker<worker_protocol::OpenKernelQueue>(worker_protocol::Kind::open_kernel_queue, id_);
  request.queue = last_queue_;
  request.depth = message.depth;
  const auto kept = std::make_shared<Kept>(environment_.disposal, peer_.uid, packet);
  const int fds[] = {kept->file()};
  worker_->request(
      request, fds,
      later([kept, queue = last_queue_, asked = packet.request()](Session& self, Packet* opened, const Error* error) {
        self.kernel_queue_opened(queue, asked, opened, error);
      }));
}

void Session::kernel_queue_opened(std::uint32_t id, std::uint64_t request, Packet* opened, const Error* error) {
  const auto found = queues_.find(id);
  if (found == queues_.end()) return fail(request, lost());
  Queue& queue = found->second;
  try {
    if (error != nullptr) throw *error;
    const auto& message = answer_in<worker_protocol::QueueOpened>(*opened);
    queue.open = true;
    kernel_client_ = message.kernel_client;
    answer(request, Kind::queue, protocol::QueueOpened{.queue = id, .depth = queue.depth, .handle = message.handle});
  } catch (const Error& refused) {
    discharge_queue(queue.depth);
    queues_.erase(found);
    fail(request, refused);
  }
}

void Session::add_kernel_arena(Packet& packet) {
  const std::uint64_t bytes = message_in<protocol::AddArena>(packet, 1).bytes;
  must_be_granted(features_);
  charge_arena(bytes);
  auto request = to_worker<worker_protocol::AddArena>(worker_protocol::Kind::add_kernel_arena, id_);
  request.bytes = bytes;
  const auto kept = std::make_shared<Kept>(environment_.disposal, peer_.uid, packet);
  const int fds[] = {kept->file()};
  worker_->request(request, fds,
                   later([kept, bytes, asked = packet.request()](Session& self, Packet* added, const Error* error) {
                     self.arena_added(asked, bytes, added, error);
                   }));
}

}  // namespace ml::daemon
