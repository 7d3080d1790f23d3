#include "daemon/sessions/listener.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace ml::daemon {
namespace {

constexpr int kBatch = 64;
constexpr std::uint64_t kPause = 1'000'000;  // ns, until the file of who was refused is closed

bool no_files(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS; }

transport::UniqueFd accept_one(int socket) {
  return transport::UniqueFd(accept4(socket, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

}  // namespace

Listener::Listener(Loop& loop, transport::UniqueFd socket, Accepted accepted, Accepted crowded)
    : loop_(loop),
      socket_(std::move(socket)),
      reserve_(eventfd(0, EFD_CLOEXEC)),
      accepted_(std::move(accepted)),
      crowded_(std::move(crowded)) {
  watch();
}

Listener::~Listener() {
  loop_.unwatch(socket_.get());
  if (pause_ != 0) loop_.cancel(pause_);
}

void Listener::watch() {
  loop_.watch(socket_.get(), EPOLLIN, [this](std::uint32_t) { accept_batch(); });
}

void Listener::accept_batch() {
  if (!reserve_) reserve_ = transport::UniqueFd(eventfd(0, EFD_CLOEXEC));
  for (int i = 0; i < kBatch; ++i) {
    transport::UniqueFd connection = accept_one(socket_.get());
    if (connection) {
      accepted_(std::move(connection));
      continue;
    }
    if (errno == ECONNABORTED || errno == EINTR) continue;
    if (!no_files(errno)) return;  // nobody is there
    if (refuse_one()) continue;
    loop_.unwatch(socket_.get());
    pause_ = loop_.after(kPause, [this] {
      pause_ = 0;
      watch();
    });
    return;
  }
}

bool Listener::refuse_one() {
  reserve_.reset();
  bool taken = false;
  if (transport::UniqueFd connection = accept_one(socket_.get()); connection) {
    crowded_(std::move(connection));
    taken = true;
  }
  reserve_ = transport::UniqueFd(eventfd(0, EFD_CLOEXEC));
  return taken && reserve_;
}

}  // namespace ml::daemon
