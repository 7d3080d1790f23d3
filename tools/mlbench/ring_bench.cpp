// mlbench ring: what a NOP costs through the ring, spinning, asleep and in batches, beside an eventfd and a unix-socket
// ping-pong. Clients are on one CPU, workers on another.
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <thread>

#include "engine/runtime/embedded.h"
#include "libmlclient/transport/client_ring.h"
#include "libmlclient/transport/ring_mapping.h"
#include "ml/error.h"
#include "tools/mlbench/benchmarks.h"

namespace ml::bench {

namespace {

constexpr uint32_t depth = 256;
constexpr std::size_t batch_size = 32;

[[noreturn]] void refuse(const char* what) { throw Error(Code::io, std::string(what) + ": " + std::strerror(errno)); }

void transfer(ssize_t done, std::size_t bytes) {
  if (done != static_cast<ssize_t>(bytes)) refuse("ping-pong");
}

// Two eventfds, blocking: what the kernel takes to wake each side once.
class EventfdPeer {
 public:
  explicit EventfdPeer(int cpu) : to_(eventfd(0, EFD_CLOEXEC)), from_(eventfd(0, EFD_CLOEXEC)) {
    if (to_ < 0 || from_ < 0) refuse("eventfd");
    thread_ = std::thread([this, cpu] {
      pin(cpu);
      for (uint64_t value = 0; read(to_, &value, sizeof value) == sizeof value && value == 1;)
        transfer(write(from_, &value, sizeof value), sizeof value);
    });
  }
  ~EventfdPeer() {
    const uint64_t stop = 2;
    [[maybe_unused]] const ssize_t written = write(to_, &stop, sizeof stop);
    thread_.join();
    close(to_);
    close(from_);
  }
  void round_trip() {
    uint64_t value = 1;
    transfer(write(to_, &value, sizeof value), sizeof value);
    transfer(read(from_, &value, sizeof value), sizeof value);
  }

 private:
  int to_, from_;
  std::thread thread_;
};

// A SOCK_SEQPACKET pair and messages of a descriptor's size.
class SocketPeer {
 public:
  explicit SocketPeer(int cpu) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_) != 0) refuse("socketpair");
    thread_ = std::thread([this, cpu] {
      pin(cpu);
      std::array<char, sizeof(mlring_descriptor)> message;
      while (read(ends_[1], message.data(), message.size()) == static_cast<ssize_t>(message.size()))
        transfer(write(ends_[1], message.data(), message.size()), message.size());
    });
  }
  ~SocketPeer() {
    shutdown(ends_[0], SHUT_RDWR);
    thread_.join();
    close(ends_[0]);
    close(ends_[1]);
  }
  void round_trip() {
    std::array<char, sizeof(mlring_descriptor)> message{};
    transfer(write(ends_[0], message.data(), message.size()), message.size());
    transfer(read(ends_[0], message.data(), message.size()), message.size());
  }

 private:
  int ends_[2];
  std::thread thread_;
};

// A worker of libmlengine.so with one queue: what an application that embeds the engine has.
class NopQueue {
 public:
  // The worker's threads inherit the CPU that they are made on. park_us: how long it polls an idle ring.
  NopQueue(std::span<const int> cpus, int worker_cpu, uint32_t park_us) {
    mlengine_worker_options options{};
    options.size = sizeof options;
    options.threads = 1;
    options.device = "reference";
    options.park_us = park_us;
    pin(worker_cpu);
    require(mlengine_worker_create(&options, &worker_));
    pin(cpus);  // the client's end looks whether it has a CPU to spin on
    require(mlengine_session_create(worker_, nullptr, &session_));
    mlengine_queue_info info{};
    info.size = sizeof info;
    require(mlengine_queue_create(session_, depth, &queue_, &info));
    mapping_.emplace(info.memory_fd, info.depth);
    client_.emplace(mapping_->pages(), info.doorbell_fd, info.wake_fd);
  }
  ~NopQueue() { mlengine_worker_destroy(worker_); }
  NopQueue(const NopQueue&) = delete;
  NopQueue& operator=(const NopQueue&) = delete;

  void round_trip(bool asleep) {
    if (!client_->submit(mlring_descriptor{}) || !client_->wait({.long_work = asleep}) || !client_->poll(answer_))
      lost();
  }
  // Keeps the queue full of batches until so many NOPs are answered.
  void stream(std::size_t count) {
    static constexpr std::array<mlring_descriptor, batch_size> batch{};
    std::size_t sent = 0, answered = 0;
    while (answered < count) {
      while (sent < count && client_->credits() >= batch_size) sent += client_->submit(batch);
      if (!client_->wait({.completions = static_cast<uint32_t>(std::min(batch_size, count - answered))})) lost();
      while (client_->poll(answer_)) ++answered;
    }
  }

 private:
  static void require(int32_t status) {
    if (status < 0) throw Error(static_cast<Code>(-status), mlengine_error(), "engine");
  }
  [[noreturn]] void lost() const {
    throw Error(Code::internal, std::string("the ring ended: ") + mlring_fault_text(client_->fault()));
  }

  mlengine_worker* worker_ = nullptr;
  mlengine_session* session_ = nullptr;
  mlengine_queue* queue_ = nullptr;
  std::optional<transport::RingMapping> mapping_;
  std::optional<transport::ClientRing> client_;
  transport::Completion answer_{};
};

void report(const std::string& what, std::vector<double>& samples, const char* peer,
            std::vector<double>& peer_samples) {
  for (const auto& [name, fraction] : {std::pair{"median", 0.5}, std::pair{"p99", 0.99}})
    print({"ring." + what, "depth=256 stat=" + std::string(name), quantile(samples, fraction), "ns", peer,
           quantile(peer_samples, fraction)});
}

}  // namespace

int run_ring(const Options& options) {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) throw Error(Code::unsupported, "both ends must be on different CPUs, and there is only one");
  NopQueue sleeper(cpus, cpus[1], 1);
  NopQueue spinner(cpus, cpus[1], 1000);
  EventfdPeer eventfds(cpus[1]);
  SocketPeer sockets(cpus[1]);
  pin(cpus[0]);
  const int rounds = options.quick ? 10 : 30;
  const int warm_up = 100;  // until the one before has fallen asleep and this one is awake
  const int trips = 500;
  const std::size_t nops = 32 * 1024;
  std::vector<double> spinning, asleep, rate, eventfd_trip, socket_trip, socket_rate;

  const auto timed = [](std::vector<double>& samples, const auto& round_trip) {
    for (int i = 0; i < warm_up; ++i) round_trip();
    uint64_t before = now_ns();
    for (int i = 0; i < trips; ++i) {  // from one end to the next, so that the clock is read once for each
      round_trip();
      const uint64_t after = now_ns();
      samples.push_back(static_cast<double>(after - before));
      before = after;
    }
  };
  const std::function<void()> contestants[] = {
      [&] { timed(socket_trip, [&] { sockets.round_trip(); }); },
      [&] { timed(asleep, [&] { sleeper.round_trip(true); }); },
      [&] { timed(eventfd_trip, [&] { eventfds.round_trip(); }); },
      [&] { timed(spinning, [&] { spinner.round_trip(false); }); },
      [&] {
        const uint64_t before = now_ns();
        spinner.stream(nops);
        rate.push_back(1e9 * static_cast<double>(nops) / static_cast<double>(now_ns() - before));
      },
      [&] {
        for (int i = 0; i < warm_up; ++i) sockets.round_trip();
        const uint64_t before = now_ns();
        for (int i = 0; i < trips; ++i) sockets.round_trip();
        socket_rate.push_back(1e9 * trips / static_cast<double>(now_ns() - before));
      },
  };
  interleave(rounds, contestants);

  report("spinning", spinning, "unix-socket", socket_trip);
  report("spinning", spinning, "eventfd", eventfd_trip);
  report("sleeping", asleep, "unix-socket", socket_trip);
  report("sleeping", asleep, "eventfd", eventfd_trip);
  print({"ring.batched", "depth=256 batch=32 stat=median", quantile(rate, 0.5), "NOPs/s", "unix-socket",
         quantile(socket_rate, 0.5)});
  return 0;
}

}  // namespace ml::bench
