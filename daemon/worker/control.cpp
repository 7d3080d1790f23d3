#include "daemon/worker/control.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "daemon/worker/kernel_ledger.h"
#include "daemon/worker/mapped_files.h"
#include "daemon/worker/sandbox.h"
#include "engine/runtime/devices.h"
#include "engine/runtime/shared_ring_memory.h"
#include "kernel/uapi/mlaccel_ring_check.h"
#include "libmlclient/transport/failure.h"

namespace ml::daemon {
namespace {

namespace wire = worker_protocol;
using transport::Packet;
using transport::Received;

std::string text_of(const char* field, std::size_t size) { return {field, strnlen(field, size)}; }

}  // namespace

Control::Control(int socket) : socket_(socket), posted_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!posted_) throw Error(Code::io, std::string("eventfd: ") + std::strerror(errno), "worker");
}

Control::~Control() = default;

void Control::run() {
  pollfd watched[2] = {{socket_, POLLIN, 0}, {posted_.get(), POLLIN, 0}};
  Packet packet;
  while (!stopped_) {
    if (poll(watched, std::size(watched), -1) < 0 && errno != EINTR)
      throw Error(Code::io, std::string("poll: ") + std::strerror(errno), "worker");
    if ((watched[1].revents & POLLIN) != 0) run_posted();
    if (watched[0].revents == 0) continue;
    switch (transport::receive_packet(socket_, transport::protocol::kMaxPacket, packet)) {
      case Received::packet: take(packet); break;
      case Received::malformed: throw Error(Code::corrupt, "mld sent what is no packet", "worker");
      case Received::nothing: break;
      case Received::closed: return;
    }
  }
}

void Control::post(std::function<void()> action) {
  {
    const std::lock_guard lock(mutex_);
    actions_.push_back(std::move(action));
  }
  const std::uint64_t one = 1;
  // A full counter is readable already.
  [[maybe_unused]] const ssize_t written = write(posted_.get(), &one, sizeof one);
}

void Control::run_posted() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(posted_.get(), &count, sizeof count);
  std::vector<std::function<void()>> actions;
  {
    const std::lock_guard lock(mutex_);
    actions.swap(actions_);
  }
  for (const std::function<void()>& action : actions) action();
}

void Control::take(Packet& packet) {
  try {
    dispatch(packet);
  } catch (...) {
    packet.fds.clear();  // before mld, which has them too, closes its own: what a client sent may close slowly
    fail(packet.request(), transport::failure_from(std::current_exception()));
  }
  packet.fds.clear();
}

template <class T>
void Control::on(Packet& packet, std::size_t fds, void (Control::*handle)(const T&, Packet&)) {
  const T* const message = packet.as<T>();
  if (message == nullptr || packet.fds.size() != fds) {
    throw Error(Code::invalid_argument, "request " + std::to_string(packet.kind()) + " has " +
                                            std::to_string(packet.bytes.size()) + " bytes and " +
                                            std::to_string(packet.fds.size()) + " files, not " +
                                            std::to_string(sizeof(T)) + " and " + std::to_string(fds));
  }
  (this->*handle)(*message, packet);
}

void Control::dispatch(Packet& packet) {
  const auto kind = static_cast<wire::Kind>(packet.kind());
  if ((worker_ == nullptr) != (kind == wire::Kind::configure))
    throw Error(Code::invalid_argument, "CONFIGURE comes first, and once");
  switch (kind) {
    case wire::Kind::configure: return on(packet, std::max<std::size_t>(packet.fds.size(), 2), &Control::configure);
    case wire::Kind::open_session: return on(packet, 0, &Control::open_session);
    case wire::Kind::close_session: return on(packet, 0, &Control::close_session);
    case wire::Kind::open_queue: return on(packet, 4, &Control::open_queue);
    case wire::Kind::close_queue: return on(packet, 0, &Control::close_queue);
    case wire::Kind::add_arena: return on(packet, 1, &Control::add_arena);
    case wire::Kind::remove_arena: return on(packet, 0, &Control::remove_arena);
    case wire::Kind::load_model: return on(packet, 1, &Control::load_model);
    case wire::Kind::open_model: return on(packet, 0, &Control::open_model);
    case wire::Kind::unload_model: return on(packet, 0, &Control::unload_model);
    case wire::Kind::set_weight: return on(packet, 0, &Control::set_weight);
    case wire::Kind::statistics: return on(packet, 0, &Control::statistics);
    case wire::Kind::open_kernel_queue: return on(packet, 1, &Control::open_kernel_queue);
    case wire::Kind::add_kernel_arena: return on(packet, 1, &Control::add_kernel_arena);
    case wire::Kind::ready:
    case wire::Kind::queue_opened:
    case wire::Kind::arena_added:
    case wire::Kind::model_opened:
    case wire::Kind::session_statistics:
    case wire::Kind::session_ended: break;
  }
  throw Error(Code::unsupported, "there is no request " + std::to_string(packet.kind()));
}

// mld reads always, and sends without waiting: a full socket is empty in a moment.
void Control::check_sent(bool sent) {
  if (sent || errno == EPIPE || errno == ECONNRESET) return;  // run() sees the end
  throw Error(Code::io, std::string("answering mld: ") + std::strerror(errno), "worker");
}

void Control::done(std::uint64_t request) {
  transport::protocol::Done message{};
  message.header.kind = static_cast<std::uint32_t>(transport::protocol::Kind::done);
  message.header.request = request;
  check_sent(transport::send_message(socket_, message));
}

void Control::fail(std::uint64_t request, const Error& error) {
  check_sent(transport::send_failure(socket_, request, error));
}

Control::Session& Control::find(std::uint64_t session) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) throw Error(Code::not_found, "the worker has no session " + std::to_string(session));
  return found->second;
}

void Control::configure(const wire::Configure& wanted, Packet& packet) {
  const int threads = wanted.threads != 0 ? static_cast<int>(wanted.threads) : runtime::usable_cpus();
  auto* const running = static_cast<wire::RunningTable*>(map_shared(packet.fds[0].get(), sizeof(wire::RunningTable)));
  runtime::WorkerOptions options;
  static_assert(runtime::WorkerOptions::kByCpus == ~std::uint64_t{0});
  options.park = wanted.poll_ns;
  if (wanted.memory_bytes != 0) options.memory_bytes = wanted.memory_bytes;
  options.role = static_cast<runtime::PreemptionRole>(wanted.role);
  options.running = running->session;
  if (wanted.kernel != 0) {
    use_kernel(std::move(packet.fds.back()));
    packet.fds.pop_back();
    options.events = kernel_.get();
  }
  for (const transport::UniqueFd& page : std::span(packet.fds).subspan(1)) {
    options.preemption.push_back(
        static_cast<wire::PreemptionPage*>(map_shared(page.get(), sizeof(wire::PreemptionPage))));
  }
  worker_ = std::make_unique<runtime::Worker>(
      runtime::create_device(text_of(wanted.backend, sizeof wanted.backend), threads), options);
  models_ = std::make_unique<Models>(worker_->device(), worker_->memory(), running->loading,
                                     [this](std::function<void()> action) { post(std::move(action)); });
  const std::string fingerprint = worker_->device().fingerprint();
  // Nothing of a client's has come yet.
  restrict_system_calls(kernel_ ? kernel_->fd() : -1);
  answer(packet.request(), wire::Kind::ready, wire::Ready{}, fingerprint);
}

void Control::open_session(const wire::OpenSession& wanted, Packet& packet) {
  if (wanted.session == 0 || sessions_.contains(wanted.session))
    throw Error(Code::invalid_argument, "session " + std::to_string(wanted.session) + " is there already");
  runtime::SessionLimits limits;
  limits.number = wanted.session;
  limits.user = wanted.uid;
  limits.queues = wanted.queues;
  limits.arenas = wanted.arenas;
  limits.handles = wanted.handles;
  limits.plans = wanted.plans;
  limits.user_bytes = wanted.device_bytes;
  limits.graph_bytes = wanted.graph_bytes;
  limits.scratch_bytes = wanted.scratch_bytes;
  limits.compile_ms = wanted.compile_ms;
  worker_->set_weight(wanted.uid, wanted.weight);
  sessions_[wanted.session] = {&worker_->create_session(limits), {}, {}};
  done(packet.request());
}

void Control::close_session(const wire::CloseSession& wanted, Packet& packet) {
  runtime::Session* const session = find(wanted.session).session;
  sessions_.erase(wanted.session);
  worker_->close_session(*session, [this, request = packet.request()] { post([this, request] { done(request); }); });
}

void Control::check_queue_is_new(const Session& session, std::uint32_t queue) const {
  if (session.queues.contains(queue))
    throw Error(Code::invalid_argument, "queue " + std::to_string(queue) + " is there already");
}

runtime::QueueOptions Control::options_of_queue(std::uint64_t session, std::int32_t priority) {
  runtime::QueueOptions options;
  options.priority = priority;
  options.faulted = [this, session](std::uint32_t fault) {
    post([this, session, fault] { session_failed(session, fault, Code::corrupt); });
  };
  return options;
}

void Control::open_queue(const wire::OpenQueue& wanted, Packet& packet) {
  Session& session = find(wanted.session);
  check_queue_is_new(session, wanted.queue);
  const runtime::QueueFiles files{packet.fds[0].get(), packet.fds[1].get(), packet.fds[2].get(), packet.fds[3].get()};
  auto memory = std::make_unique<runtime::SharedRingMemory>(files, wanted.depth);
  const int completion = memory->completion_fd();
  runtime::Queue& queue =
      worker_->attach_queue(*session.session, std::move(memory), options_of_queue(wanted.session, wanted.priority));
  session.queues[wanted.queue] = &queue;
  wire::QueueOpened opened{};
  opened.handle = queue.handle;
  answer(packet.request(), wire::Kind::queue_opened, opened, {}, std::span(&completion, 1));
}

void Control::close_queue(const wire::CloseQueue& wanted, Packet& packet) {
  auto node = find(wanted.session).queues.extract(wanted.queue);
  if (!node) throw Error(Code::not_found, "the session has no queue " + std::to_string(wanted.queue));
  worker_->close_queue(*node.mapped(),
                       [this, request = packet.request()] { post([this, request] { done(request); }); });
}

void Control::session_failed(std::uint64_t session, std::uint32_t fault, Code code) {
  if (!sessions_.contains(session)) return;  // closed in the meantime
  wire::SessionEnded ended{};
  ended.session = session;
  ended.fault = fault;
  ended.status = -static_cast<std::int32_t>(code);
  answer(0, wire::Kind::session_ended, ended,
         code == Code::timeout ? "its work ran for longer than the context's timeout" : mlring_fault_text(fault));
}

void Control::add_arena(const wire::AddArena& wanted, Packet& packet) {
  runtime::Session& session = *find(wanted.session).session;
  void* const base = map_arena(packet.fds[0].get(), wanted.bytes);
  wire::ArenaAdded added{};
  added.arena = worker_->add_mapped_arena(session, base, wanted.bytes);
  answer(packet.request(), wire::Kind::arena_added, added);
}

void Control::remove_arena(const wire::RemoveArena& wanted, Packet& packet) {
  worker_->remove_mapped_arena(*find(wanted.session).session, wanted.arena);
  done(packet.request());
}

void Control::load_model(const wire::LoadModel& wanted, Packet& packet) {
  models_->load(wanted.model, std::move(packet.fds[0]), wanted.bytes, wanted.session,
                [this, request = packet.request()](const Error* error) {
                  if (error != nullptr)
                    fail(request, *error);
                  else
                    done(request);
                });
}

void Control::open_model(const wire::OpenModel& wanted, Packet& packet) {
  wire::ModelOpened opened{};
  opened.program = worker_->add_program(*find(wanted.session).session, models_->find(wanted.model));
  answer(packet.request(), wire::Kind::model_opened, opened);
}

void Control::unload_model(const wire::UnloadModel& wanted, Packet& packet) {
  models_->unload(wanted.model);
  done(packet.request());
}

void Control::set_weight(const wire::SetWeight& wanted, Packet& packet) {
  worker_->set_weight(wanted.uid, wanted.weight);
  done(packet.request());
}

void Control::statistics(const wire::Statistics& wanted, Packet& packet) {
  wire::SessionStatistics all{};
  all.busy_ns = worker_->busy_ns();
  const runtime::PreemptionGate::Counts preempted = worker_->preemptions();
  all.switches = preempted.switches;
  all.switch_ns_total = preempted.switch_ns_total;
  all.switch_ns_longest = preempted.switch_ns_longest;
  all.longest_kernel_ns = preempted.longest_kernel_ns;
  using Purpose = runtime::MemoryBudget::Purpose;
  all.scratch_bytes = worker_->memory()->used_for(Purpose::scratch) + worker_->memory()->used_for(Purpose::programs);
  all.models = models_->count();
  all.model_bytes = models_->bytes();
  for (auto at = sessions_.upper_bound(wanted.after); at != sessions_.end() && all.count < wire::kStatisticsEntries;
       ++at) {
    const runtime::Worker::SessionUse use = runtime::Worker::use_of(*at->second.session);
    all.entries[all.count++] = {
        at->first,       use.busy_ns,    use.compile_ns, use.device_bytes,
        use.arena_bytes, use.executions, use.failures,   at->second.ledger ? at->second.ledger->bytes() : 0};
  }
  answer(packet.request(), wire::Kind::session_statistics, all);
}

}  // namespace ml::daemon
