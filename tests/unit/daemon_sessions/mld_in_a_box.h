// The sessions of mld with a worker that answers when and what a test says, and clients that are plain sockets.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "daemon/limits/limits.h"
#include "daemon/loop/loop.h"
#include "daemon/registry/registry.h"
#include "daemon/service/listening_socket.h"
#include "daemon/sessions/sessions.h"
#include "daemon/store/store.h"
#include "daemon/workers/devices.h"
#include "libmlclient/transport/seqpacket.h"

namespace ml::daemon {

namespace protocol = transport::protocol;
namespace wire = worker_protocol;

// Keeps requests until the test answers them.
class FakeWorker final : public WorkerProcess {
 public:
  struct Request {
    std::vector<std::byte> bytes;
    std::vector<transport::UniqueFd> fds;
    Answer answer;
    wire::Kind kind() const { return static_cast<wire::Kind>(as<wire::Header>().kind); }
    template <class T>
    const T& as() const {
      return *reinterpret_cast<const T*>(bytes.data());
    }
  };

  FakeWorker();
  const WorkerSpec& spec() const override { return spec_; }
  pid_t pid() const override { return 4711; }
  std::uint32_t generation() const override { return 7; }
  bool ready() const override { return true; }
  const std::string& fingerprint() const override { return fingerprint_; }
  void request(std::span<std::byte> message, std::string_view text, std::span<const int> fds, Answer answer) override;
  std::vector<std::uint64_t> running_sessions() const override { return running; }
  void kill() override {}

  std::deque<Request> requests;
  std::vector<std::uint64_t> running;

 private:
  WorkerSpec spec_;
  std::string fingerprint_ = "fake";
};

class Client {
 public:
  explicit Client(transport::UniqueFd its_socket) : socket(std::move(its_socket)) {}
  template <class T>
  void send(T message, protocol::Kind kind, std::uint64_t request, std::vector<int> fds = {}, std::string text = {}) {
    message.header.kind = static_cast<std::uint32_t>(kind);
    message.header.request = request;
    ASSERT_TRUE(transport::send_message(socket.get(), message, text, fds));
  }
  void hello(std::string device = {});
  transport::UniqueFd socket;
};

class MldInABox : public testing::Test {
 protected:
  MldInABox();
  ~MldInABox() override;

  // Turns the loop until the condition holds; a test that waits for 20 s fails.
  bool until(const std::function<bool()>& condition);
  Client connect();
  // What comes next on its socket; nullopt: it hung up.
  std::optional<transport::Packet> receive(Client& client);
  template <class T>
  T expect(Client& client, protocol::Kind kind, std::uint64_t request) {
    auto packet = receive(client);
    EXPECT_TRUE(packet) << "it hung up";
    if (!packet) return {};
    EXPECT_EQ(packet->kind(), static_cast<std::uint32_t>(kind)) << packet->text();
    EXPECT_EQ(packet->request(), request);
    const T* const message = packet->as<T>();
    EXPECT_NE(message, nullptr);
    last_ = std::move(*packet);
    return message != nullptr ? *last_.as<T>() : T{};
  }
  // An ERROR with that status; its text.
  std::string refusal(Client& client, std::uint64_t request, Code code);
  // The oldest request that the worker has and was not answered, which must be of that kind.
  FakeWorker::Request take(wire::Kind kind);
  void done(const FakeWorker::Request& request);
  template <class T>
  void answer(const FakeWorker::Request& request, T message, std::vector<int> fds = {});
  void refuse(const FakeWorker::Request& request, const Error& error) { request.answer(nullptr, &error); }

  // A client whose session is open; and one with a queue.
  Client open_session();
  protocol::QueueOpened open_queue(Client& client, std::uint32_t depth = 64);
  std::uint64_t used(Resource resource) const { return limits->used(geteuid(), resource); }

  std::filesystem::path folder;
  Config config;
  std::unique_ptr<Loop> loop = Loop::create(Loop::Kind::automatic, nullptr);
  std::optional<Limits> limits;
  std::optional<Devices> devices;
  std::optional<Store> store;
  std::optional<Registry> registry;
  std::optional<Sessions> sessions;
  std::optional<ListeningSocket> listening;
  FakeWorker* worker = nullptr;
  transport::Packet last_;
};

template <class T>
void MldInABox::answer(const FakeWorker::Request& request, T message, std::vector<int> fds) {
  transport::Packet packet;
  message.header.bytes = sizeof message;
  const auto bytes = std::as_bytes(std::span(&message, 1));
  packet.bytes.assign(bytes.begin(), bytes.end());
  for (const int fd : fds) packet.fds.emplace_back(fd);
  request.answer(&packet, nullptr);
}

}  // namespace ml::daemon
