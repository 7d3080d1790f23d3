#include "daemon/sessions/sessions.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <ctime>
#include <set>
#include <vector>

#include "daemon/sessions/listener.h"
#include "daemon/sessions/session.h"
#include "engine/runtime/event_bell.h"
#include "libmlclient/transport/failure.h"

namespace ml::daemon {
namespace {

// Connections that are only kept to be told why not; those beyond are told at once.
constexpr std::size_t kMostRefused = 64;
// Bounds what lies unread in a client's socket, files too.
constexpr int kSocketBuffer = 32768;

std::uint64_t monotonic_clock() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

struct Sessions::State {
  State(Loop& loop, const Config& config, Limits& limits, Devices& devices, Registry& registry)
      : environment{loop, config, limits, devices, registry, bell, culprits, disposal, [this](std::uint64_t id) {
                      sessions.erase(id);
                      refused.erase(id);
                    }} {}

  void accept(transport::UniqueFd socket);
  void refuse_at_once(transport::UniqueFd socket, const Error& error);
  std::uint64_t add(transport::UniqueFd socket, const Peer& peer, std::optional<Error> refusal,
                    std::optional<JobSession> job);
  // A copy: sessions come and go while one is told something.
  std::vector<std::shared_ptr<Session>> all() const {
    std::vector<std::shared_ptr<Session>> list;
    for (const auto& [id, session] : sessions) list.push_back(session);
    return list;
  }

  runtime::EventBell bell;
  Culprits culprits;
  Disposal disposal;
  SessionEnvironment environment;
  const std::optional<gid_t> admin_group = group_id(environment.config.admin_group);
  std::map<std::uint64_t, std::shared_ptr<Session>> sessions;
  std::set<std::uint64_t> refused;
  std::uint64_t last_id = 0;
  std::vector<std::unique_ptr<Listener>> listeners;
};

void Sessions::State::accept(transport::UniqueFd socket) {
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &kSocketBuffer, sizeof kSocketBuffer);
  try {
    const Peer peer = peer_of(socket.get(), admin_group);
    if (disposal.overdue(peer.uid))
      return refuse_at_once(std::move(socket),
                            Error(Code::again, "files that this user has sent still wait to be closed", "HELLO",
                                  "send nothing but memory, which closes at once"));
    try {
      environment.limits.admit_session(peer.uid, monotonic_clock());
      environment.limits.take(peer.uid, Resource::sessions);
      environment.limits.give(peer.uid, Resource::sessions);
    } catch (const Error& error) {
      if (refused.size() >= kMostRefused) return refuse_at_once(std::move(socket), error);
      refused.insert(add(std::move(socket), peer, error, std::nullopt));
      return;
    }
    add(std::move(socket), peer, std::nullopt, std::nullopt);
  } catch (const std::exception& error) {
    spdlog::warn("a client could not be taken: {}", error.what());
  }
}

// Whatever it has sent is not looked at.
void Sessions::State::refuse_at_once(transport::UniqueFd socket, const Error& error) {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &bytes);
  transport::send_failure(socket.get(), 0, error);
  disposal.hang_up(peer.uid, std::move(socket));
}

std::uint64_t Sessions::State::add(transport::UniqueFd socket, const Peer& peer, std::optional<Error> refusal,
                                   std::optional<JobSession> job) {
  const std::uint64_t id = ++last_id;
  const auto session =
      std::make_shared<Session>(environment, id, std::move(socket), peer, std::move(refusal), std::move(job));
  session->start();
  sessions[id] = session;
  return id;
}

Sessions::Sessions(Loop& loop, const Config& config, Limits& limits, Devices& devices, Registry& registry)
    : state_(std::make_unique<State>(loop, config, limits, devices, registry)) {}

Sessions::~Sessions() = default;

void Sessions::listen(transport::UniqueFd socket) {
  State& state = *state_;
  state.listeners.push_back(std::make_unique<Listener>(
      state.environment.loop, std::move(socket),
      [&state](transport::UniqueFd connection) { state.accept(std::move(connection)); },
      [&state](transport::UniqueFd connection) {
        state.refuse_at_once(std::move(connection),
                             Error(Code::again, "mld has no file descriptor left for another client", "HELLO",
                                   "try again when others have gone, or raise LimitNOFILE of mld"));
      }));
}

void Sessions::stop_listening() { state_->listeners.clear(); }

std::uint64_t Sessions::adopt(transport::UniqueFd socket, const Peer& peer, JobSession job) {
  return state_->add(std::move(socket), peer, std::nullopt, std::move(job));
}

std::vector<SessionInfo> Sessions::list() const {
  std::vector<SessionInfo> found;
  for (const auto& [id, session] : state_->sessions)
    if (session->welcomed()) found.push_back(session->info());
  return found;
}

void Sessions::kick(std::uint64_t id, const Peer& who) {
  const auto found = state_->sessions.find(id);
  if (found == state_->sessions.end() || !found->second->welcomed() ||
      (!who.admin && found->second->peer().uid != who.uid))
    throw Error(Code::not_found, "there is no session " + std::to_string(id), {}, "`mlctl client ls` lists yours");
  const std::shared_ptr<Session> session = found->second;
  spdlog::info("session {} of uid {} (pid {}) is ended by uid {}", id, session->peer().uid, session->peer().pid,
               who.uid);
  session->end(Error(Code::cancelled, "the session was ended by uid " + std::to_string(who.uid), "mlctl client kick"));
}

void Sessions::worker_died(WorkerProcess& worker, const std::string& how) {
  for (const std::uint64_t id : worker.running_sessions()) {
    const auto found = state_->sessions.find(id);
    if (found == state_->sessions.end()) continue;
    const ProcessIdentity& process = found->second->process();
    state_->culprits.add(process);
    spdlog::warn(
        "{} died ({}) while it worked for session {} of uid {} (pid {}), death {} of at most {} for that process",
        worker.spec().name, how, id, process.uid, process.pid, state_->culprits.deaths(process), Culprits::kMost);
  }
  for (const auto& session : state_->all())
    if (session->worker() == &worker) session->worker_died(how);
}

void Sessions::session_ended(const worker_protocol::SessionEnded& ended, std::string_view why) {
  const auto found = state_->sessions.find(ended.session);
  if (found == state_->sessions.end()) return;
  const std::shared_ptr<Session> session = found->second;
  const bool hung = ended.status == MLRING_TIMEOUT;
  spdlog::info("session {} of uid {} (pid {}) {}: {}", ended.session, session->peer().uid, session->peer().pid,
               hung ? "hung" : "broke the rules of the ring", why);
  session->end(
      hung ? Error(Code::timeout, std::string(why), "the session's queue", "split the work into shorter pieces")
           : Error(Code::corrupt, std::string(why), "the session's memory", "the program writes where it must not"));
}

void Sessions::device_ready() {
  for (const auto& session : state_->all()) session->device_ready();
}

void Sessions::limits_changed() {
  std::set<std::pair<WorkerProcess*, std::uint32_t>> told;
  for (const auto& [id, session] : state_->sessions) {
    const std::uint32_t uid = session->peer().uid;
    if (session->worker() == nullptr || !told.emplace(session->worker(), uid).second) continue;
    worker_protocol::SetWeight request{};
    request.header.kind = static_cast<std::uint32_t>(worker_protocol::Kind::set_weight);
    request.uid = uid;
    request.weight =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(state_->environment.limits.values(uid).weight, UINT32_MAX));
    session->worker()->request(request, {}, [](transport::Packet*, const Error*) {});
  }
}

}  // namespace ml::daemon
