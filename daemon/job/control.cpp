#include "daemon/job/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "libmlclient/transport/seqpacket.h"
#include "ml/error.h"

namespace ml::job {

namespace protocol = daemon::job_protocol;

namespace {

constexpr std::size_t kMaxReason = 2048;

transport::UniqueFd opened(int fd, const char* what) {
  if (fd < 0) throw Error(Code::io, std::string(what) + " failed: " + std::strerror(errno));
  return transport::UniqueFd(fd);
}

}  // namespace

Control::Control(int socket) : socket_(socket) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signals_ = opened(signalfd(-1, &signals, SFD_CLOEXEC), "signalfd");
  end_ = opened(eventfd(0, EFD_CLOEXEC), "eventfd");
  if (socket_ >= 0) fcntl(socket_, F_SETFL, fcntl(socket_, F_GETFL) | O_NONBLOCK);
  thread_ = std::thread([this] { run(); });
}

Control::~Control() {
  eventfd_write(end_.get(), 1);
  thread_.join();
}

void Control::run() {
  for (;;) {
    std::array<pollfd, 3> fds{pollfd{end_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}, {socket_, POLLIN, 0}};
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[0].revents != 0) return;
    if (fds[1].revents != 0) {
      signalfd_siginfo signal{};
      if (read(signals_.get(), &signal, sizeof signal) == sizeof signal && stop_.exchange(true))
        _exit(128 + static_cast<int>(signal.ssi_signo));
    }
    if (fds[2].revents == 0) continue;
    transport::Packet packet;
    const transport::Received received = transport::receive_packet(socket_, transport::protocol::kMaxPacket, packet);
    if (received == transport::Received::closed || received == transport::Received::malformed)
      _exit(protocol::kExitDeviceLost);  // mld is gone; what is on disk counts
    if (received == transport::Received::packet && packet.kind() == static_cast<std::uint32_t>(protocol::Kind::stop) &&
        packet.as<protocol::Stop>() != nullptr)
      stop_ = true;
  }
}

void Control::progress(const protocol::Progress& progress) {
  if (socket_ < 0) return;
  protocol::Progress message = progress;
  message.header = {};
  message.header.kind = static_cast<std::uint32_t>(protocol::Kind::progress);
  transport::send_message(socket_, message);
}

void Control::failed(const std::string& why) {
  if (socket_ < 0) return;
  protocol::Failed message{};
  message.header.kind = static_cast<std::uint32_t>(protocol::Kind::failed);
  transport::send_message(socket_, message, std::string_view(why).substr(0, kMaxReason));
}

}  // namespace ml::job
