#include "tests/unit/daemon_sessions/mld_in_a_box.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstring>

namespace ml::daemon {

FakeWorker::FakeWorker() {
  spec_.name = "serving cpu0";
  spec_.backend = "cpu";
  spec_.cpus = {0, 1, 2};
}

void FakeWorker::request(std::span<std::byte> message, std::string_view, std::span<const int> fds, Answer answer) {
  Request kept{{message.begin(), message.end()}, {}, std::move(answer)};
  for (const int fd : fds) kept.fds.emplace_back(dup(fd));
  requests.push_back(std::move(kept));
}

void Client::hello(std::string device) {
  protocol::Hello message{};
  message.magic = protocol::kMagic;
  message.oldest_version = message.newest_version = protocol::kVersion;
  device.copy(message.device, sizeof message.device - 1);
  std::strcpy(message.client, "a test\n");
  send(message, protocol::Kind::hello, 1);
}

MldInABox::MldInABox() {
  std::string name = testing::TempDir() + "mld-sessions-XXXXXX";
  EXPECT_NE(mkdtemp(name.data()), nullptr);
  folder = name;
  config.user = true;
  config.socket = folder / "mld.sock";
  config.state_directory = folder / "state";
  std::filesystem::create_directory(config.state_directory);
  config.devices = {{.name = "cpu0"}};
  config.limits.arena_bytes = 16u << 20;
  config.limits.device_bytes = 1u << 30;
  config.limits.model_bytes = 1u << 20;
  limits.emplace(config);
  devices.emplace(*loop, config);
  store.emplace(config.state_directory + "/mld.sqlite");
  registry.emplace(*loop, config, *limits, *store);
  sessions.emplace(*loop, config, *limits, *devices, *registry);
  auto fake = std::make_unique<FakeWorker>();
  worker = fake.get();
  devices->all()[0].serving = std::move(fake);
  listening.emplace(config.socket, SOCK_SEQPACKET, 0600);
  sessions->listen(transport::UniqueFd(dup(listening->fd.get())));
}

MldInABox::~MldInABox() {
  sessions.reset();
  registry.reset();
  store.reset();
  devices.reset();
  std::error_code error;
  std::filesystem::remove_all(folder, error);
}

bool MldInABox::until(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  bool held = false;
  std::function<void()> look = [&] {
    held = condition();
    if (held || std::chrono::steady_clock::now() > deadline) return loop->stop();
    loop->after(200'000, look);
  };
  look();
  loop->run();
  return held;
}

Client MldInABox::connect() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  config.socket.copy(address.sun_path, sizeof address.sun_path - 1);
  transport::UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
      << std::strerror(errno);
  return Client(std::move(socket));
}

std::optional<transport::Packet> MldInABox::receive(Client& client) {
  transport::Packet packet;
  transport::Received received = transport::Received::nothing;
  EXPECT_TRUE(until([&] {
    received = transport::receive_packet(client.socket.get(), protocol::kMaxPacket, packet);
    return received != transport::Received::nothing;
  })) << "nothing came";
  if (received != transport::Received::packet) return std::nullopt;
  return packet;
}

std::string MldInABox::refusal(Client& client, std::uint64_t request, Code code) {
  const auto failed = expect<protocol::Failed>(client, protocol::Kind::error, request);
  EXPECT_EQ(failed.status, -static_cast<std::int32_t>(code)) << last_.text();
  return std::string(last_.text());
}

FakeWorker::Request MldInABox::take(wire::Kind kind) {
  EXPECT_TRUE(until([&] { return !worker->requests.empty(); })) << "the worker is asked nothing";
  if (worker->requests.empty()) return {};
  FakeWorker::Request request = std::move(worker->requests.front());
  worker->requests.pop_front();
  EXPECT_EQ(request.kind(), kind);
  return request;
}

void MldInABox::done(const FakeWorker::Request& request) {
  protocol::Done message{};
  message.header.kind = static_cast<std::uint32_t>(protocol::Kind::done);
  answer(request, message);
}

Client MldInABox::open_session() {
  Client client = connect();
  client.hello();
  done(take(wire::Kind::open_session));
  expect<protocol::Welcome>(client, protocol::Kind::welcome, 1);
  return client;
}

protocol::QueueOpened MldInABox::open_queue(Client& client, std::uint32_t depth) {
  client.send(protocol::OpenQueue{.depth = depth}, protocol::Kind::open_queue, 2);
  answer(take(wire::Kind::open_queue), wire::QueueOpened{.handle = {3, 4}}, {dup(STDERR_FILENO)});
  return expect<protocol::QueueOpened>(client, protocol::Kind::queue, 2);
}

}  // namespace ml::daemon
