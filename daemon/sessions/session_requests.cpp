// What a client may ask for, each request in its function.
#include <sys/epoll.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "daemon/config/machine.h"
#include "daemon/registry/registry.h"
#include "daemon/sessions/client_memory.h"
#include "daemon/sessions/request.h"
#include "daemon/sessions/session.h"
#include "libmlclient/transport/failure.h"

namespace ml::daemon {
namespace {

namespace protocol = transport::protocol;
using protocol::Kind;
using transport::Packet;

constexpr std::uint64_t kWorkerPatience = 10'000'000'000;  // ns that HELLO waits for a worker

// With a final zero inside; what can't be printed is replaced.
template <std::size_t N>
std::string name_in(const char (&field)[N], const char* what) {
  const std::size_t length = strnlen(field, N);
  if (length == N) violated(std::string("the name of the ") + what + " has no end");
  std::string name(field, length);
  std::ranges::replace_if(
      name, [](char letter) { return letter < ' ' || letter > '~'; }, '?');
  return name;
}

template <std::size_t N>
void put_name(char (&field)[N], const std::string& name) {
  std::memcpy(field, name.data(), std::min(name.size(), N - 1));
}

std::uint32_t at_most_32_bits(std::uint64_t value) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

void Session::handle(Packet& packet) {
  const std::uint64_t request = packet.request();
  ++unanswered_;
  try {
    hello_request_ = phase_ == Phase::greeting ? request : hello_request_;
    if (refusal_) return refuse_hello(*refusal_);
    if (request == 0) violated("a request has number 0");
    const auto kind = static_cast<Kind>(packet.kind());
    if (phase_ == Phase::greeting) {
      if (kind != Kind::hello) violated("the first message is not HELLO");
      return read_hello(packet);
    }
    if (kind < Kind::open_queue || kind > Kind::add_kernel_arena)
      violated("there is no request of kind " + std::to_string(packet.kind()));
    if (phase_ == Phase::lost) throw lost();
    switch (kind) {
      case Kind::open_queue: return open_queue(packet);
      case Kind::close_queue: return close_queue(packet);
      case Kind::add_arena: return add_arena(packet);
      case Kind::remove_arena: return remove_arena(packet);
      case Kind::open_model: return open_model(packet);
      case Kind::register_model: return register_model(packet);
      case Kind::open_kernel_queue: return open_kernel_queue(packet);
      default: return add_kernel_arena(packet);
    }
  } catch (const Violation& violation) {
    end(violation.error);
  } catch (...) {
    fail(request, transport::failure_from(std::current_exception()));
  }
}

// HELLO -------------------------------------------------------------------------------------------------------------

void Session::read_hello(const Packet& packet) {
  const auto& hello = message_in<protocol::Hello>(packet);
  if (hello.magic != protocol::kMagic) violated("HELLO does not begin with mlaccel's number");
  if (hello.purpose > static_cast<std::uint32_t>(protocol::Purpose::serving))
    violated("there is no purpose " + std::to_string(hello.purpose));
  wanted_ = name_in(hello.device, "device");
  client_ = name_in(hello.client, "client");
  purpose_ = job_ ? "job " + std::to_string(job_->job)
             : hello.purpose == static_cast<std::uint32_t>(protocol::Purpose::serving) ? "serving"
                                                                                       : "interactive";
  environment_.loop.cancel(std::exchange(patience_, 0));
  if (hello.oldest_version > hello.newest_version || hello.oldest_version > protocol::kVersion ||
      hello.newest_version < protocol::kOldestVersion)
    return refuse_hello(Error(Code::unsupported,
                              "the client speaks versions " + std::to_string(hello.oldest_version) + " to " +
                                  std::to_string(hello.newest_version) + " of the protocol, mld speaks " +
                                  std::to_string(protocol::kOldestVersion) + " to " +
                                  std::to_string(protocol::kVersion),
                              "HELLO", "install the same version of mlaccel for both, and restart mld"));
  version_ = std::min(hello.newest_version, protocol::kVersion);
  features_ = hello.features;
  if (environment_.culprits.deaths(process_) >= Culprits::kMost)
    return refuse_hello(Error(Code::denied,
                              "the device's worker died " + std::to_string(Culprits::kMost) +
                                  " times of the work of this process (pid " + std::to_string(peer_.pid) + ")",
                              "HELLO", "find out what it ran; another process may connect"));
  patience_ =
      environment_.loop.after(kWorkerPatience, later([](Session& self) {
                                self.patience_ = 0;
                                if (self.phase_ == Phase::waiting)
                                  self.refuse_hello(Error(Code::again, "no worker of the device came up within 10 s",
                                                          "HELLO", "'mlctl device ls' shows why"));
                              }));
  find_worker();
  if (phase_ != Phase::closing) listen_again();
}

void Session::refuse_hello(const Error& error) {
  const auto self = shared_from_this();
  fail(hello_request_, error);
  begin_closing();
}

bool Session::worker_may_come() const {
  return std::ranges::any_of(environment_.devices.all(), [this](const Device& device) {
    return !device.draining && (wanted_.empty() || wanted_ == device.config.name || wanted_ == device.config.backend);
  });
}

void Session::find_worker() {
  if (job_) {
    if (worker_ == nullptr) return refuse_hello(lost());
    device_ = job_->device;
    return open_at_worker();
  }
  phase_ = Phase::waiting;
  try {
    Device& device = environment_.devices.choose(wanted_);
    device_ = device.config.name;
    worker_ = device.serving.get();
    ++device.sessions;
    on_device_ = true;
  } catch (const Error& error) {
    if (error.code() != Code::again || !worker_may_come()) refuse_hello(error);
    return;
  }
  open_at_worker();
}

void Session::open_at_worker() {
  phase_ = Phase::opening;
  generation_ = worker_->generation();
  const LimitValues& limits = environment_.limits.values(peer_.uid);
  auto request = to_worker<worker_protocol::OpenSession>(worker_protocol::Kind::open_session, id_);
  request.uid = peer_.uid;
  request.weight = at_most_32_bits(limits.weight);
  request.queues = at_most_32_bits(limits.queues);
  request.arenas = at_most_32_bits(limits.arenas);
  request.handles = at_most_32_bits(limits.handles);
  request.plans = at_most_32_bits(limits.plans);
  request.device_bytes = request.scratch_bytes = limits.device_bytes;
  request.graph_bytes = limits.graph_bytes;
  request.compile_ms = limits.compile_ms;
  worker_->request(request, {}, later([](Session& self, Packet*, const Error* error) {
                     if (error == nullptr) return self.welcome();
                     if (error->code() != Code::device_lost || self.job_) return self.refuse_hello(*error);
                     self.worker_ = nullptr;  // it is started again: the client need not notice
                     self.leave_device();
                     self.phase_ = Phase::waiting;
                   }));
}

void Session::device_ready() {
  if (phase_ == Phase::waiting) find_worker();
}

void Session::welcome() {
  phase_ = Phase::open;
  environment_.loop.cancel(std::exchange(patience_, 0));
  const WorkerSpec& spec = worker_->spec();
  protocol::Welcome message{};
  message.version = version_;
  message.generation = generation_;
  const Device* const device = environment_.devices.find(device_);
  // A job has a worker of its own, and the node is that of the serving one.
  const bool has_node = version_ >= 2 && !job_ && device != nullptr && device->node;
  features_ &= has_node ? protocol::kFeatureKernel : 0;
  message.features = features_;
  if (features_ != 0) message.minor = device->node->minor;
  message.session = id_;
  message.threads = at_most_32_bits(spec.cpus.empty() ? allowed_cpus().size() : spec.cpus.size());
  put_name(message.device, device_);
  put_name(message.backend, spec.backend);
  const std::string_view fingerprint = worker_->fingerprint();
  answer(hello_request_, Kind::welcome, message, fingerprint.substr(0, protocol::kMaxPacket - sizeof message));
}

// Queues ------------------------------------------------------------------------------------------------------------

void Session::charge_queue(std::uint32_t depth) {
  take(Resource::queues, &Charges::queues, 1);
  try {
    take(Resource::arena_bytes, &Charges::arena_bytes, QueuePages::bytes(depth));
  } catch (...) {
    give(Resource::queues, &Charges::queues, 1);
    throw;
  }
}

void Session::discharge_queue(std::uint32_t depth) {
  give(Resource::queues, &Charges::queues, 1);
  give(Resource::arena_bytes, &Charges::arena_bytes, QueuePages::bytes(depth));
}

void Session::open_queue(const Packet& packet) {
  const auto& message = message_in<protocol::OpenQueue>(packet);
  if (!mlring_depth_ok(message.depth))
    throw Error(Code::invalid_argument,
                "depth " + std::to_string(message.depth) + " is not a power of two within bounds", "OPEN_QUEUE",
                "choose one from " + std::to_string(MLRING_DEPTH_MIN) + " to " + std::to_string(MLRING_DEPTH_MAX));
  if (message.priority < -1 || message.priority > 1)
    throw Error(Code::invalid_argument, "there is no priority " + std::to_string(message.priority), "OPEN_QUEUE",
                "choose -1, 0 or 1");
  if (message.priority > 0 && !peer_.admin)
    throw Error(Code::denied, "priority 1 is for members of the group " + environment_.config.admin_group, "OPEN_QUEUE",
                "choose 0, or ask to be added to the group");
  charge_queue(message.depth);
  try {
    queues_[++last_queue_] = {std::make_unique<QueuePages>(message.depth, generation_), message.depth};
  } catch (...) {
    queues_.erase(last_queue_);
    discharge_queue(message.depth);
    throw;
  }
  const QueuePages& pages = *queues_[last_queue_].pages;
  auto request = to_worker<worker_protocol::OpenQueue>(worker_protocol::Kind::open_queue, id_);
  request.queue = last_queue_;
  request.depth = message.depth;
  request.priority = message.priority;
  const int fds[] = {pages.submission(), pages.state(), pages.doorbell(), pages.wake()};
  worker_->request(
      request, fds,
      later([queue = last_queue_, asked = packet.request()](Session& self, Packet* opened, const Error* error) {
        self.queue_opened(queue, asked, opened, error);
      }));
}

void Session::queue_opened(std::uint32_t id, std::uint64_t request, Packet* opened, const Error* error) {
  const auto found = queues_.find(id);
  if (found == queues_.end()) return fail(request, lost());
  Queue& queue = found->second;
  try {
    if (error != nullptr) throw *error;
    const auto& message = answer_in<worker_protocol::QueueOpened>(*opened, 1);
    queue.open = true;
    const int fds[] = {queue.pages->submission(), opened->fds[0].get(), queue.pages->state(), queue.pages->doorbell(),
                       queue.pages->wake()};
    answer(request, Kind::queue, protocol::QueueOpened{.queue = id, .depth = queue.depth, .handle = message.handle}, {},
           fds);
    queue.pages->handed_over();
  } catch (const Error& refused) {
    discharge_queue(queue.depth);
    queues_.erase(found);
    fail(request, refused);
  }
}

void Session::close_queue(const Packet& packet) {
  const auto& message = message_in<protocol::CloseQueue>(packet);
  must_be_zero(message.reserved);
  const auto found = queues_.find(message.queue);
  if (found == queues_.end() || !found->second.open)
    throw Error(Code::not_found, "there is no queue " + std::to_string(message.queue), "CLOSE_QUEUE");
  found->second.open = false;
  auto request = to_worker<worker_protocol::CloseQueue>(worker_protocol::Kind::close_queue, id_);
  request.queue = message.queue;
  worker_->request(request, {},
                   later([queue = message.queue, asked = packet.request()](Session& self, Packet*, const Error* error) {
                     const auto closed = self.queues_.find(queue);
                     if (closed == self.queues_.end()) return self.fail(asked, lost());
                     if (error != nullptr) return self.fail(asked, *error);
                     if (closed->second.pages) closed->second.pages->end(MLRING_STATE_CLOSED, self.environment_.bell);
                     self.discharge_queue(closed->second.depth);
                     self.queues_.erase(closed);
                     self.done(asked);
                   }));
}

// Arenas ------------------------------------------------------------------------------------------------------------

void Session::charge_arena(std::uint64_t bytes) {
  take(Resource::arenas, &Charges::arenas, 1);
  try {
    take(Resource::arena_bytes, &Charges::arena_bytes, bytes);
  } catch (...) {
    give(Resource::arenas, &Charges::arenas, 1);
    throw;
  }
}

void Session::add_arena(Packet& packet) {
  const std::uint64_t bytes = message_in<protocol::AddArena>(packet, 1).bytes;
  check_arena(packet.fds[0].get(), bytes);
  charge_arena(bytes);
  auto request = to_worker<worker_protocol::AddArena>(worker_protocol::Kind::add_arena, id_);
  request.bytes = bytes;
  const transport::UniqueFd memory = std::move(packet.fds[0]);
  const int fds[] = {memory.get()};
  worker_->request(request, fds,
                   later([bytes, asked = packet.request()](Session& self, Packet* added, const Error* error) {
                     self.arena_added(asked, bytes, added, error);
                   }));
}

void Session::arena_added(std::uint64_t request, std::uint64_t bytes, Packet* added, const Error* error) {
  try {
    if (error != nullptr) throw *error;
    const std::uint32_t arena = answer_in<worker_protocol::ArenaAdded>(*added).arena;
    arenas_[arena] = bytes;
    answer(request, Kind::arena, protocol::ArenaAdded{.arena = arena});
  } catch (const Error& refused) {
    give(Resource::arenas, &Charges::arenas, 1);
    give(Resource::arena_bytes, &Charges::arena_bytes, bytes);
    fail(request, refused);
  }
}

void Session::remove_arena(const Packet& packet) {
  const auto& message = message_in<protocol::RemoveArena>(packet);
  must_be_zero(message.reserved);
  const auto found = arenas_.find(message.arena);
  if (found == arenas_.end())
    throw Error(Code::not_found, "there is no arena " + std::to_string(message.arena), "REMOVE_ARENA");
  const std::uint64_t bytes = found->second;
  arenas_.erase(found);
  auto request = to_worker<worker_protocol::RemoveArena>(worker_protocol::Kind::remove_arena, id_);
  request.arena = message.arena;
  worker_->request(request, {}, later([bytes, asked = packet.request()](Session& self, Packet*, const Error* error) {
                     if (error != nullptr) return self.fail(asked, *error);
                     self.give(Resource::arenas, &Charges::arenas, 1);
                     self.give(Resource::arena_bytes, &Charges::arena_bytes, bytes);
                     self.done(asked);
                   }));
}

// Models ------------------------------------------------------------------------------------------------------------

void Session::open_model(const Packet& packet) {
  message_in<protocol::OpenModel>(packet, 0, true);
  const ModelVersion& model = environment_.registry.find(std::string(packet.text()), peer_);
  environment_.registry.open(
      model, *worker_, id_,
      later([asked = packet.request()](Session& self, const ModelVersion* opened, mlring_handle program, int file,
                                       const Error* error) {
        if (error != nullptr) return self.fail(asked, *error);
        self.answer(asked, Kind::model,
                    protocol::ModelOpened{.program = program, .version = opened->version, .bytes = opened->bytes}, {},
                    {&file, 1});
      }));
}

void Session::register_model(Packet& packet) {
  const auto& message = message_in<protocol::RegisterModel>(packet, 1, true);
  must_be_zero(message.reserved);
  if (message.shared > 1) violated("a flag is " + std::to_string(message.shared) + ", expected 0 or 1");
  check_model_file(packet.fds[0].get(), message.bytes);
  // A job's worker has memory for its training and no more; the model is tried where it will be used.
  WorkerProcess* tries = worker_;
  if (worker_->spec().role == worker_protocol::Role::training)
    if (const Device* device = environment_.devices.find(worker_->spec().devices[0]); device && device->serving)
      tries = device->serving.get();
  environment_.registry.add(
      peer_, std::string(packet.text()), message.shared == 1, std::move(packet.fds[0]), message.bytes, *tries, id_,
      later([asked = packet.request()](Session& self, const ModelVersion* model, const Error* error) {
        if (error != nullptr) return self.fail(asked, *error);
        self.answer(asked, Kind::registered, protocol::ModelRegistered{.version = model->version});
      }));
}

}  // namespace ml::daemon
