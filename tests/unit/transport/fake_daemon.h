// The daemon's half of a session socket, on a thread of the test: it does what the test says, step by step.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "engine/runtime/shared_ring_memory.h"
#include "engine/runtime/worker_ring.h"
#include "libmlclient/transport/failure.h"
#include "libmlclient/transport/memfd.h"
#include "libmlclient/transport/seqpacket.h"
#include "libmlclient/transport/session_protocol.h"
#include "libmlclient/transport/transport.h"

namespace ml::test {

namespace protocol = transport::protocol;
using protocol::Kind;
using transport::Packet;
using transport::UniqueFd;

// A queue as mld and a worker make it, and its worker: it answers NOPs when it is asked to.
class FakeQueue {
 public:
  explicit FakeQueue(std::uint32_t depth) {
    mlring_layout layout{};
    mlring_compute_layout(&layout, depth, 4096);
    submission = sealed(layout.submission_bytes);
    state = sealed(layout.state_bytes);
    state_page_ = static_cast<mlring_state*>(
        mmap(nullptr, layout.state_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, state.get(), 0));
    set_state(MLRING_STATE_ACTIVE);
    doorbell = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    wake = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    memory_.emplace(runtime::QueueFiles{submission.get(), state.get(), doorbell.get(), wake.get()}, depth);
    worker_.emplace(memory_->worker_pages(), wake.get());
    completion = UniqueFd(dup(memory_->completion_fd()));
  }

  std::vector<int> fds() const { return {submission.get(), completion.get(), state.get(), doorbell.get(), wake.get()}; }
  void set_state(std::uint32_t value) { MLRING_STORE_RELEASE(&state_page_->state, value); }
  void ring() {
    const std::uint64_t one = 1;
    EXPECT_EQ(write(wake.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  // Answers what has been submitted.
  void serve() {
    runtime::TakenDescriptor taken[8];
    while (const std::size_t count = worker_->take(taken, 1)) {
      for (std::size_t i = 0; i < count; ++i) worker_->complete(taken[i].slot, {});
    }
    worker_->publish();
  }

  static UniqueFd sealed(std::uint64_t bytes, int seals = F_SEAL_SHRINK | F_SEAL_GROW) {
    UniqueFd fd = transport::make_memfd("fake", bytes);
    transport::seal(fd.get(), seals);
    return fd;
  }

  UniqueFd submission, completion, state, doorbell, wake;

 private:
  mlring_state* state_page_ = nullptr;
  std::optional<runtime::SharedRingMemory> memory_;
  std::optional<runtime::WorkerRing> worker_;
};

class FakeDaemon {
 public:
  // `behave` runs on a thread of its own; the socket is closed when it returns.
  explicit FakeDaemon(std::function<void(FakeDaemon&)> behave) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) throw std::runtime_error("socketpair");
    client_ = UniqueFd(ends[0]);
    socket_ = UniqueFd(ends[1]);
    thread_ = std::thread([this, behave = std::move(behave)] {
      behave(*this);
      socket_.reset();
    });
  }
  ~FakeDaemon() { finish(); }
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;

  // The client's side.
  std::unique_ptr<transport::Transport> connect(const SessionOptions& options = {}) {
    return transport::open_fd(client_.release(), options);
  }

  // Waits until the daemon is done, which sees the client go if nobody has taken its side.
  void finish() {
    client_.reset();
    if (thread_.joinable()) thread_.join();
  }
  UniqueFd take_client() { return std::move(client_); }

  // The daemon's side ---------------------------------------------------------------------------------------------

  // The next request; one of kind 0 when the client has gone.
  Packet next() {
    Packet packet;
    if (transport::receive_packet(socket_.get(), protocol::kMaxPacket, packet) != transport::Received::packet) {
      packet.bytes.assign(sizeof(protocol::Header), std::byte{0});
      packet.fds.clear();
    }
    return packet;
  }
  template <class T>
  void answer(const Packet& request, Kind kind, T message, std::string_view text = {}, std::span<const int> fds = {}) {
    message.header.kind = static_cast<std::uint32_t>(kind);
    message.header.request = request.request();
    transport::send_message(socket_.get(), message, text, fds);
  }
  // Bytes as they are, whatever they say of themselves.
  void send_raw(std::span<const std::byte> bytes) { ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  void refuse(const Packet& request, const Error& error) {
    transport::send_failure(socket_.get(), request.request(), error);
  }

  static protocol::Welcome welcome() {
    protocol::Welcome message{};
    message.version = protocol::kVersion;
    message.generation = 1;
    message.session = 7;
    message.threads = 2;
    std::string_view("cpu0").copy(message.device, 4);
    std::string_view("cpu").copy(message.backend, 3);
    return message;
  }
  static protocol::QueueOpened opened(std::uint32_t depth) {
    protocol::QueueOpened message{};
    message.queue = 1;
    message.depth = depth;
    message.handle = {1, 1};
    return message;
  }
  void greet() { answer(next(), Kind::welcome, welcome(), "fingerprint of cpu0"); }
  // The whole handshake, as it should be.
  void shake_hands(FakeQueue& queue) {
    greet();
    const Packet request = next();
    answer(request, Kind::queue, opened(256), {}, queue.fds());
  }
  int socket() const { return socket_.get(); }

 private:
  UniqueFd client_, socket_;
  std::thread thread_;
};

// What the error that `body` throws says; empty when it throws none.
struct Thrown {
  Code code{};
  std::string text;
};
template <class F>
Thrown thrown_by(F body) {
  try {
    body();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

}  // namespace ml::test
