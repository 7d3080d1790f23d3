// What must not hold up or bloat the admin service: a worker that stands still, callers that send half of everything,
// floods of connections.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/system/support/daemon.h"
#include "tests/system/support/mlctl.h"
#include "tests/system/support/models.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

transport::UniqueFd connect_to(const std::string& path) {
  transport::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) socket.reset();
  return socket;
}

std::uint64_t resident_kib(pid_t pid) {
  std::istringstream status(read_file("/proc/" + std::to_string(pid) + "/status"));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6));
  throw std::runtime_error("no VmRSS");
}

TEST(AdminAttacks, AWorkerThatStandsStillHoldsUpNoOtherCall) {
  Daemon daemon;
  RawSession session(daemon.socket(), HelloOptions{.client = "still-here"});
  register_model(session, "fashion");
  mlctl_out(daemon, {"model", "unload", "fashion"});
  const pid_t worker = daemon.workers().at(0);
  ASSERT_EQ(kill(worker, SIGSTOP), 0);
  // Each would wait for ever, or for mlctl's 30 s, if it waited for that worker.
  EXPECT_NE(mlctl_out(daemon, {"device", "ls", "-o", "json"}).find("cpu0"), std::string::npos);
  EXPECT_NE(mlctl_out(daemon, {"client", "ls", "-o", "json"}).find("still-here"), std::string::npos);
  mlctl_out(daemon, {"status"});
  mlctl_out(daemon, {"limits"});
  mlctl_out(daemon, {"device", "drain", "cpu0"});
  mlctl_out(daemon, {"device", "drain", "cpu0", "--undo"});
  const Finished load = mlctl(daemon, {"--timeout", "200ms", "model", "load", "fashion"});
  EXPECT_TRUE(load.ended.with(7)) << load.ended.describe() << load.err;
  ASSERT_EQ(kill(worker, SIGCONT), 0);
  mlctl_out(daemon, {"model", "load", "fashion"});
  EXPECT_NE(mlctl_out(daemon, {"model", "ls", "-o", "json"}).find("cpu0"), std::string::npos);
}

// As much HTTP/2 as it takes to begin many calls and to send all but the last byte of their messages.
class HalfSender {
 public:
  HalfSender(const std::string& path, int streams, std::uint32_t bytes) : socket_(connect_to(path)), bytes_(bytes) {
    if (!socket_) return;
    fcntl(socket_.get(), F_SETFL, O_NONBLOCK);
    out_ = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(kSettings, 0, 0, "");
    for (int i = 0; i < streams; ++i) {
      const auto stream = static_cast<std::uint32_t>(1 + 2 * i);
      out_ += frame(kHeaders, 4, stream,
                    header(":method", "POST") + header(":scheme", "http") + header(":authority", "x") +
                        header(":path", "/mlaccel.admin.v1.Admin/SubmitJob") +
                        header("content-type", "application/grpc") + header("te", "trailers"));
      out_ += frame(kData, 0, stream, std::string(1, '\0') + number(bytes));
      window_ -= 5;
      streams_[stream] = {65535 - 5, 0};
    }
  }
  // Sends what it may. False: nothing can be sent or read now, or it was cut off.
  bool go_on() {
    if (!socket_) return false;
    char block[65536];
    const ssize_t got = recv(socket_.get(), block, sizeof block, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return socket_.reset(), false;
    if (got > 0) in_.append(block, static_cast<std::size_t>(got));
    read_frames();
    if (out_.empty()) write_data();
    if (out_.empty()) return got > 0;
    const ssize_t sent = send(socket_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return socket_.reset(), false;
    if (sent > 0) out_.erase(0, static_cast<std::size_t>(sent));
    return got > 0 || sent > 0;
  }
  std::uint64_t sent() const { return sent_; }

 private:
  enum Type : std::uint8_t { kData = 0, kHeaders = 1, kReset = 3, kSettings = 4, kPing = 6, kWindow = 8 };
  struct Stream {
    std::int64_t window;
    std::uint32_t sent;
  };
  static std::string number(std::uint32_t value) {
    value = htonl(value);
    return {reinterpret_cast<const char*>(&value), 4};
  }
  static std::string frame(Type type, char flags, std::uint32_t stream, const std::string& payload) {
    return number(static_cast<std::uint32_t>(payload.size())).substr(1) + static_cast<char>(type) + flags +
           number(stream) + payload;
  }
  static std::string header(const std::string& name, const std::string& value) {
    return std::string(1, '\0') + static_cast<char>(name.size()) + name + static_cast<char>(value.size()) + value;
  }
  static std::uint32_t value_at(std::string_view bytes, std::size_t at) {
    std::uint32_t value;
    std::memcpy(&value, bytes.data() + at, 4);
    return ntohl(value);
  }
  void read_frames() {
    while (in_.size() >= 9) {
      const std::size_t length = value_at(std::string(1, '\0') + in_.substr(0, 3), 0);
      if (in_.size() < 9 + length) return;
      const std::string payload = in_.substr(9, length);
      const std::uint32_t stream = value_at(in_, 5);
      const bool acknowledges = in_[4] & 1;
      switch (in_[3]) {
        case kSettings:
          for (std::size_t at = 0; !acknowledges && at + 6 <= length; at += 6) {
            if (payload[at] != 0 || payload[at + 1] != 4) continue;
            const std::int64_t more = static_cast<std::int64_t>(value_at(payload, at + 2)) - initial_;
            initial_ += more;
            for (auto& [number, each] : streams_) each.window += more;
          }
          if (!acknowledges) out_ += frame(kSettings, 1, 0, "");
          break;
        case kPing:
          if (!acknowledges) out_ += frame(kPing, 1, 0, payload);
          break;
        case kWindow:
          if (stream == 0) {
            window_ += value_at(payload, 0);
          } else if (const auto found = streams_.find(stream); found != streams_.end()) {
            found->second.window += value_at(payload, 0);
          }
          break;
        case kReset: streams_.erase(stream); break;
        default: break;
      }
      in_.erase(0, 9 + length);
    }
  }
  void write_data() {
    for (auto& [number, stream] : streams_) {
      const std::int64_t most =
          std::min({window_, stream.window, std::int64_t{16384}, std::int64_t{bytes_} - 1 - stream.sent});
      if (most <= 0) continue;
      out_ += frame(kData, 0, number, std::string(static_cast<std::size_t>(most), 'z'));
      window_ -= most;
      stream.window -= most;
      stream.sent += static_cast<std::uint32_t>(most);
      sent_ += static_cast<std::uint64_t>(most);
    }
  }

  transport::UniqueFd socket_;
  const std::uint32_t bytes_;
  std::string in_, out_;
  std::int64_t window_ = 65535, initial_ = 65535;
  std::map<std::uint32_t, Stream> streams_;
  std::uint64_t sent_ = 0;
};

TEST(AdminAttacks, HalfSentCallsAreHeldInLittleMemory) {
  Daemon daemon;
  mlctl_out(daemon, {"status"});  // so that gRPC's own memory is there
  const std::uint64_t before = resident_kib(daemon.pid());
  std::vector<HalfSender> senders;
  senders.reserve(60);
  for (int i = 0; i < 60; ++i) senders.emplace_back(daemon.admin_socket(), 100, 250'000);
  // Until nothing moves any more.
  std::uint64_t sent = 0;
  EXPECT_TRUE(eventually([&] {
    bool moved = false;
    for (HalfSender& sender : senders)
      while (sender.go_on()) moved = true;
    std::uint64_t now = 0;
    for (const HalfSender& sender : senders) now += sender.sent();
    return !moved && std::exchange(sent, now) == now && now > 0;
  }));
  EXPECT_GT(sent, 4u << 20) << "the attack did not come to anything";
  EXPECT_TRUE(eventually([&] { return resident_kib(daemon.pid()) < before + (96 << 10); }))
      << resident_kib(daemon.pid()) << " KiB, " << before << " before, after " << sent << " bytes in halves";
  senders.clear();
  mlctl_out(daemon, {"status"});
}

TEST(AdminAttacks, AFloodOfConnectionsEndsAtTheLimitAndLeavesNothing) {
  Daemon daemon;
  mlctl_out(daemon, {"status"});
  const auto fds = [&] {
    return std::distance(std::filesystem::directory_iterator("/proc/" + std::to_string(daemon.pid()) + "/fd"), {});
  };
  EXPECT_TRUE(eventually([&] { return daemon.logged("serves"); }));
  const auto before = fds();
  for (int round = 0; round < 5; ++round) {
    std::vector<transport::UniqueFd> flood;
    for (int i = 0; i < 300; ++i) flood.push_back(connect_to(daemon.admin_socket()));
    EXPECT_LT(fds(), before + 2 * 2 * 64 + 40) << "two fds for each connection that is held";
  }
  EXPECT_TRUE(eventually([&] { return mlctl(daemon, {"status"}).ended.with(0); }));
  EXPECT_TRUE(eventually([&] { return fds() <= before + 8; })) << fds() << " fds, " << before << " before";
}

}  // namespace
}  // namespace ml::test
