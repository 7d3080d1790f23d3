#include "daemon/sessions/session.h"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <ctime>
#include <utility>

#include "libmlclient/transport/failure.h"

namespace ml::daemon {
namespace {

namespace protocol = transport::protocol;
using protocol::Kind;
using transport::Packet;
using transport::Received;

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kGreeting = 5 * kSecond;       // from connecting to HELLO
constexpr std::uint64_t kReadPatience = 10 * kSecond;  // that answers wait for the client to read
constexpr int kPacketsATurn = 8;                       // then the others have theirs
constexpr std::uint32_t kMaxUnanswered = 16;           // requests; no more are read until there are fewer

std::uint64_t wall_clock() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * kSecond + static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

Session::Session(SessionEnvironment& environment, std::uint64_t id, transport::UniqueFd socket, const Peer& peer,
                 std::optional<Error> refusal, std::optional<JobSession> job)
    : environment_(environment),
      id_(id),
      socket_(std::move(socket)),
      peer_(peer),
      process_(identify(peer.uid, peer.pid)),
      refusal_(std::move(refusal)),
      job_(std::move(job)),
      connected_at_(wall_clock()) {
  if (job_) worker_ = job_->worker;
  if (!job_ && !refusal_) take(Resource::sessions, &Charges::sessions, 1);
}

Session::~Session() {
  if (phase_ != Phase::closing) end_queues(MLRING_STATE_LOST);  // mld stops
  if (socket_) environment_.loop.unwatch(socket_.get());
  if (patience_ != 0) environment_.loop.cancel(patience_);
  give_all();
}

SessionInfo Session::info() const {
  std::uint64_t bytes = 0;
  for (const auto& [arena, its_bytes] : arenas_) bytes += its_bytes;
  return {id_, peer_, client_, device_, purpose_, queues_.size(), arenas_.size(), bytes, connected_at_, kernel_client_};
}

void Session::start() {
  patience_ = environment_.loop.after(kGreeting, later([](Session& self) {
                                        self.patience_ = 0;
                                        self.end(Error(Code::timeout, "no HELLO came within 5 s"));
                                      }));
  listen_again();
}

// What is charged ---------------------------------------------------------------------------------------------------

void Session::take(Resource resource, std::uint64_t Charges::*charge, std::uint64_t amount) {
  environment_.limits.take(peer_.uid, resource, amount);
  charges_.*charge += amount;
}

void Session::give(Resource resource, std::uint64_t Charges::*charge, std::uint64_t amount) {
  environment_.limits.give(peer_.uid, resource, amount);
  charges_.*charge -= amount;
}

void Session::give_all() {
  give(Resource::sessions, &Charges::sessions, charges_.sessions);
  give(Resource::queues, &Charges::queues, charges_.queues);
  give(Resource::arenas, &Charges::arenas, charges_.arenas);
  give(Resource::arena_bytes, &Charges::arena_bytes, charges_.arena_bytes);
}

// The socket --------------------------------------------------------------------------------------------------------

void Session::listen_again() {
  const bool may_ask = phase_ == Phase::greeting || phase_ == Phase::open || phase_ == Phase::lost;
  std::uint32_t events = EPOLLHUP;  // always reported; it marks that there is a watch
  if (may_ask && outbox_.empty() && unanswered_ < kMaxUnanswered) events |= EPOLLIN;
  if (!outbox_.empty()) events |= EPOLLOUT;
  if (events == watched_) return;
  watched_ = events;
  environment_.loop.watch(socket_.get(), events & ~std::uint32_t{EPOLLHUP}, [this](std::uint32_t now) {
    const auto self = shared_from_this();
    try {
      ready(now);
    } catch (const std::exception& error) {  // no memory, most likely: it costs this client its session
      spdlog::error("session {} of uid {} (pid {}) ends: {}", id_, peer_.uid, peer_.pid, error.what());
      client_gone();
    }
  });
}

void Session::ready(std::uint32_t events) {
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) return client_gone();
  if ((events & EPOLLOUT) != 0) {
    if (!outbox_.flush(socket_.get())) return client_gone();
    if (outbox_.empty() && patience_ != 0) environment_.loop.cancel(std::exchange(patience_, 0));
    listen_again();
  }
  for (int i = 0; i < kPacketsATurn && (watched_ & EPOLLIN) != 0; ++i) {
    Packet packet;
    const Received received = transport::receive_packet(socket_.get(), protocol::kMaxPacket, packet);
    if (received == Received::closed) return client_gone();
    if (received == Received::nothing) break;
    if (environment_.disposal.overdue(peer_.uid))
      end(Error(Code::again, "files that this user has sent still wait to be closed", "the session's socket",
                "send nothing but memory, which closes at once"));
    else if (received == Received::malformed)
      end(Error(Code::corrupt, "a packet is longer than " + std::to_string(protocol::kMaxPacket) +
                                   " bytes, brings more than " + std::to_string(protocol::kMaxFds) +
                                   " files, or does not begin with a header of its own size"));
    else
      handle(packet);
    environment_.disposal.close(peer_.uid, std::move(packet.fds));
    if (phase_ == Phase::closing) return;
    listen_again();
  }
}

void Session::send(std::span<std::byte> message, std::string_view text, std::span<const int> fds) {
  if (!outbox_.send(socket_.get(), message, text, fds)) {
    // From the loop: who calls is in the middle of something.
    environment_.loop.post(later([](Session& self) { self.client_gone(); }));
    return;
  }
  if (!outbox_.empty() && patience_ == 0)
    patience_ =
        environment_.loop.after(kReadPatience, later([](Session& self) {
                                  self.patience_ = 0;
                                  spdlog::info("session {} of uid {} (pid {}) has not read its answers for 10 s",
                                               self.id_, self.peer_.uid, self.peer_.pid);
                                  self.client_gone();
                                }));
}

void Session::done(std::uint64_t request) { answer(request, Kind::done, protocol::Done{}); }

void Session::fail(std::uint64_t request, const Error& error) {
  protocol::Failed failed{};
  failed.status = -static_cast<std::int32_t>(error.code());
  answer(request, Kind::error, failed, transport::failure_text(error));
}

// Its end -----------------------------------------------------------------------------------------------------------

void Session::end_queues(std::uint32_t state) {
  for (auto& [id, queue] : queues_)
    if (queue.pages) queue.pages->end(state, environment_.bell);
}

void Session::leave_device() {
  if (!std::exchange(on_device_, false)) return;
  if (Device* const device = environment_.devices.find(device_)) --device->sessions;
}

void Session::end(const Error& error) {
  const auto self = shared_from_this();
  if (phase_ == Phase::closing) return;
  spdlog::debug("session {} of uid {} (pid {}) ends: {}", id_, peer_.uid, peer_.pid, error.what());
  fail(0, error);
  end_queues(error.code() == Code::corrupt ? MLRING_STATE_FAULTED : MLRING_STATE_CLOSED);
  begin_closing();
}

void Session::client_gone() {
  const auto self = shared_from_this();
  if (phase_ == Phase::closing) return;
  environment_.loop.unwatch(socket_.get());
  environment_.disposal.hang_up(peer_.uid, std::move(socket_));
  begin_closing();
}

void Session::begin_closing() {
  const bool known_to_worker = phase_ == Phase::open || phase_ == Phase::opening;
  phase_ = Phase::closing;
  if (socket_) environment_.loop.unwatch(socket_.get());
  if (patience_ != 0) environment_.loop.cancel(std::exchange(patience_, 0));
  if (!known_to_worker || worker_ == nullptr) return finish();
  worker_protocol::CloseSession request{};
  request.header.kind = static_cast<std::uint32_t>(worker_protocol::Kind::close_session);
  request.session = id_;
  worker_->request(request, {}, [weak = weak_from_this()](Packet*, const Error*) {
    if (const auto self = weak.lock()) self->finish();
  });
}

void Session::finish() {
  const auto self = shared_from_this();
  environment_.disposal.hang_up(peer_.uid, std::move(socket_));
  queues_.clear();
  give_all();
  leave_device();
  if (job_ && job_->on_closed) job_->on_closed();
  environment_.ended(id_);
}

void Session::worker_died(const std::string& how) {
  const auto self = shared_from_this();
  worker_ = nullptr;
  if (job_) job_->worker = nullptr;
  if (phase_ != Phase::open) return;
  phase_ = Phase::lost;
  leave_device();
  end_queues(MLRING_STATE_LOST);
  queues_.clear();
  arenas_.clear();
  const std::uint64_t sessions = std::exchange(charges_.sessions, 0);
  give_all();
  charges_.sessions = sessions;
  spdlog::debug("session {} of uid {} (pid {}) lost its device: {}", id_, peer_.uid, peer_.pid, how);
  answer(0, Kind::device_lost, protocol::DeviceLost{.generation = generation_});
  // A job has this worker alone. Whoever else got hold of its socket is not to keep its devices by it.
  if (job_ && phase_ == Phase::lost) begin_closing();
}

}  // namespace ml::daemon
