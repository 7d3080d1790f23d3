#include "daemon/sessions/disposal.h"

#include <sys/socket.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace ml::daemon {
namespace {

constexpr std::chrono::seconds kIdle{1};  // then a thread ends

struct File {
  transport::UniqueFd fd;
  bool is_socket;
};

// What the client sent and nobody read would make it lose what it has not read itself: it is read here.
void hang_up_now(int socket) {
  shutdown(socket, SHUT_RD);
  char unread[64];
  while (recv(socket, unread, sizeof unread, MSG_DONTWAIT | MSG_TRUNC) > 0) continue;
}

}  // namespace

struct Disposal::State {
  struct Lane {
    std::deque<File> waiting;
    std::condition_variable more;
    std::size_t count = 0;  // the one that is being closed included
  };
  mutable std::mutex mutex;
  std::map<uid_t, Lane> lanes;  // each has its thread
  bool stopping = false;

  static void add(const std::shared_ptr<State>& state, uid_t uid, File file);
  static void run(const std::shared_ptr<State>& state, uid_t uid);
};

void Disposal::State::add(const std::shared_ptr<State>& state, uid_t uid, File file) {
  const std::lock_guard lock(state->mutex);
  const auto [place, is_new] = state->lanes.try_emplace(uid);
  if (is_new) {
    try {
      std::thread(run, state, uid).detach();
    } catch (const std::system_error&) {  // no thread to be had: it is closed here
      state->lanes.erase(place);
      return;
    }
  }
  place->second.waiting.push_back(std::move(file));
  ++place->second.count;
  place->second.more.notify_one();
}

void Disposal::State::run(const std::shared_ptr<State>& state, uid_t uid) {
  std::unique_lock lock(state->mutex);
  Lane& lane = state->lanes.at(uid);
  while (lane.more.wait_for(lock, kIdle, [&] { return !lane.waiting.empty() || state->stopping; })) {
    if (lane.waiting.empty()) break;
    File file = std::move(lane.waiting.front());
    lane.waiting.pop_front();
    lock.unlock();
    if (file.is_socket) hang_up_now(file.fd.get());
    file.fd.reset();
    lock.lock();
    --lane.count;
  }
  state->lanes.erase(uid);
}

Disposal::Disposal() : state_(std::make_shared<State>()) {}

Disposal::~Disposal() {
  const std::lock_guard lock(state_->mutex);
  state_->stopping = true;
  for (auto& [uid, lane] : state_->lanes) lane.more.notify_one();
}

void Disposal::close(uid_t uid, std::vector<transport::UniqueFd> files) {
  for (transport::UniqueFd& file : files)
    if (file) State::add(state_, uid, {std::move(file), false});
}

void Disposal::hang_up(uid_t uid, transport::UniqueFd socket) {
  if (socket) State::add(state_, uid, {std::move(socket), true});
}

bool Disposal::overdue(uid_t uid) const {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->lanes.find(uid);
  return found != state_->lanes.end() && found->second.count > kMost;
}

}  // namespace ml::daemon
