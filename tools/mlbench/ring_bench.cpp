// mlbench ring: what a NOP costs through the ring, spinning, asleep and in batches, beside an eventfd and a unix-socket
// ping-pong. All threads of one side are on one CPU, those of the other side on another.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <thread>

#include "engine/runtime/ring_memory.h"
#include "engine/runtime/worker_ring.h"
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

// Time from one end of a round trip to the next, so that the clock is read once for each.
void time_each(int count, std::vector<double>& samples, const std::function<void()>& round_trip) {
  uint64_t before = now_ns();
  for (int i = 0; i < count; ++i) {
    round_trip();
    const uint64_t after = now_ns();
    samples.push_back(static_cast<double>(after - before));
    before = after;
  }
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

// A queue and a thread that answers NOPs: the worker's end and nothing else.
class NopQueue {
 public:
  NopQueue(int cpu, bool parks_at_once)
      : memory_(depth),
        worker_(memory_.worker_pages(), memory_.wake_fd()),
        mapping_(memory_.memory_fd(), depth),
        client_(mapping_.pages(), memory_.doorbell_fd(), memory_.wake_fd()),
        thread_([this, cpu, parks_at_once] { serve(cpu, parks_at_once ? 0 : 1'000'000); }) {}
  ~NopQueue() {
    stop_ = true;
    memory_.set_state(MLRING_STATE_CLOSED);
    thread_.join();
  }

  void round_trip(bool asleep) {
    if (!client_.submit(mlring_descriptor{}) || !client_.wait({.long_work = asleep}) || !client_.poll(answer_)) lost();
  }
  // Keeps the queue full of batches until so many NOPs are answered.
  void stream(std::size_t count) {
    static constexpr std::array<mlring_descriptor, batch_size> batch{};
    std::size_t sent = 0, answered = 0;
    while (answered < count) {
      while (sent < count && client_.credits() >= batch_size) sent += client_.submit(batch);
      if (!client_.wait({.completions = static_cast<uint32_t>(std::min(batch_size, count - answered))})) lost();
      while (client_.poll(answer_)) ++answered;
    }
  }

 private:
  [[noreturn]] void lost() const {
    throw Error(Code::internal, std::string("the ring ended: ") + mlring_fault_text(client_.fault()));
  }

  void serve(int cpu, uint64_t park_after) {
    pin(cpu);
    std::array<runtime::TakenDescriptor, batch_size> taken;
    const pollfd doorbell{memory_.doorbell_fd(), POLLIN, 0};
    uint64_t last_work = now_ns();
    while (!stop_) {
      const uint64_t now = now_ns();
      const std::size_t n = worker_.take(taken, now);
      if (n != 0) {
        mlring_completion answer{};
        answer.started = answer.ended = now;
        for (std::size_t i = 0; i < n; ++i) worker_.complete(taken[i].slot, answer);
        worker_.publish();
        last_work = now;
      } else if (now - last_work >= park_after && worker_.park()) {
        pollfd on = doorbell;
        poll(&on, 1, -1);
        uint64_t count = 0;
        [[maybe_unused]] const ssize_t got = read(doorbell.fd, &count, sizeof count);
        worker_.unpark();
        last_work = now_ns();
      }
    }
  }

  runtime::RingMemory memory_;
  runtime::WorkerRing worker_;
  transport::RingMapping mapping_;
  transport::ClientRing client_;
  transport::Completion answer_{};
  std::atomic<bool> stop_{false};
  std::thread thread_;
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
  EventfdPeer eventfds(cpus[1]);
  SocketPeer sockets(cpus[1]);
  const int rounds = options.quick ? 10 : 60;
  const int trips = 500;
  const std::size_t stream = 32 * 1024;
  std::vector<double> spinning, asleep, rate, eventfd_trip, socket_trip, socket_rate;

  // A spinning worker may not share its CPU with a peer's thread that is being measured, so it lives only in its turn.
  const auto fresh = [&](bool parks_at_once, const std::function<void(NopQueue&)>& use) {
    pin(cpus);  // an end made on a single CPU would never spin
    NopQueue queue(cpus[1], parks_at_once);
    pin(cpus[0]);
    for (int i = 0; i < 50; ++i) queue.round_trip(parks_at_once);
    use(queue);
  };
  const std::function<void()> contestants[] = {
      [&] {
        pin(cpus[0]);
        time_each(trips, socket_trip, [&] { sockets.round_trip(); });
      },
      [&] { fresh(true, [&](NopQueue& queue) { time_each(trips, asleep, [&] { queue.round_trip(true); }); }); },
      [&] { fresh(false, [&](NopQueue& queue) { time_each(trips, spinning, [&] { queue.round_trip(false); }); }); },
      [&] { time_each(trips, eventfd_trip, [&] { eventfds.round_trip(); }); },
      [&] {
        fresh(false, [&](NopQueue& queue) {
          const uint64_t before = now_ns();
          queue.stream(stream);
          rate.push_back(1e9 * static_cast<double>(stream) / static_cast<double>(now_ns() - before));
        });
      },
      [&] {
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
