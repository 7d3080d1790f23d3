// mlbench ring: what a NOP costs through the ring, spinning, asleep and in batches, beside an eventfd and a unix-socket
// ping-pong. Clients are on one CPU, workers on another: in this process, or with --via unix behind a mld of its own,
// with
// --via kernel through the kernel module besides, or with --via unix:PATH behind the mld that listens there.
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "ml/error.h"
#include "tools/mlbench/benchmarks.h"
#include "tools/mlbench/nop_queue.h"
#include "tools/mlbench/ping_pong.h"
#include "tools/mlbench/private_daemon.h"

namespace ml::bench {
namespace {

// Two queues: the worker of one falls asleep at once, that of the other polls for a millisecond.
struct Queues {
  std::optional<TemporaryFolder> folder;
  std::optional<PrivateDaemon> daemon;
  std::unique_ptr<NopQueue> sleeper, spinner;
};

void open_embedded_queues(Queues& queues, std::span<const int> cpus, int worker_cpu) {
  queues.sleeper = std::make_unique<EmbeddedNopQueue>(cpus, worker_cpu, 1);
  queues.spinner = std::make_unique<EmbeddedNopQueue>(cpus, worker_cpu, 1000);
}

void open_daemon_queues(Queues& queues, int worker_cpu, bool kernel) {
  const auto device = [&](const char* name, const char* poll) {
    return "[[device]]\nname = \"" + std::string(name) + "\"\nbackend = \"reference\"\nmemory = \"256MiB\"\ncpus = \"" +
           std::to_string(worker_cpu) + "\"\npoll = \"" + poll + "\"\n";
  };
  queues.folder.emplace();
  const std::string module = std::string("kernel = \"") + (kernel ? "on" : "off") + "\"\n";
  queues.daemon.emplace(*queues.folder, module + device("sleeps", "0s") + device("polls", "1ms"));
  queues.sleeper = std::make_unique<DaemonNopQueue>(queues.daemon->socket(), "sleeps", kernel);
  queues.spinner = std::make_unique<DaemonNopQueue>(queues.daemon->socket(), "polls", kernel);
}

// A daemon that runs already: how long its device polls is its own affair, so both queues are on the same.
void open_queues_at(Queues& queues, const std::string& socket) {
  queues.sleeper = std::make_unique<DaemonNopQueue>(socket, "");
  queues.spinner = std::make_unique<DaemonNopQueue>(socket, "");
}

void report(const std::string& what, const std::string& config, std::vector<double>& samples, const char* peer,
            std::vector<double>& peer_samples) {
  for (const auto& [name, fraction] : {std::pair{"median", 0.5}, std::pair{"p99", 0.99}})
    print({"ring." + what, config + " stat=" + name, quantile(samples, fraction), "ns", peer,
           quantile(peer_samples, fraction)});
}

}  // namespace

int run_ring(const Options& options) {
  const std::string via = options.via("embedded");
  const bool daemon = via != "embedded";
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) throw Error(Code::unsupported, "both ends must be on different CPUs, and there is only one");
  // The peer is as far away as the worker: another thread or another process.
  SocketPingPong sockets(cpus[1], daemon ? SocketPingPong::With::process : SocketPingPong::With::thread);
  Queues queues;
  if (!daemon)
    open_embedded_queues(queues, cpus, cpus[1]);
  else if (via == "unix" || via == "kernel")
    open_daemon_queues(queues, cpus[1], via == "kernel");
  else
    open_queues_at(queues, via.substr(std::string("unix:").size()));
  NopQueue &sleeper = *queues.sleeper, &spinner = *queues.spinner;
  EventfdPingPong eventfds(cpus[1]);
  pin(cpus[0]);
  const int rounds = options.quick ? 5 : 30;
  const int warm_up = options.quick ? 20 : 100;  // until the one before has fallen asleep and this one is awake
  const int trips = options.quick ? 100 : 500;
  const std::size_t nops = options.quick ? 4 * 1024 : 32 * 1024;
  std::vector<double> spinning, asleep, rate, eventfd_trip, socket_trip, socket_rate;

  const auto timed = [=](std::vector<double>& samples, const auto& round_trip) {
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

  const std::string config = "via=" + via.substr(0, via.find(':')) + " depth=256";
  report("spinning", config, spinning, "unix-socket", socket_trip);
  report("spinning", config, spinning, "eventfd", eventfd_trip);
  report("sleeping", config, asleep, "unix-socket", socket_trip);
  report("sleeping", config, asleep, "eventfd", eventfd_trip);
  print({"ring.batched", config + " batch=32 stat=median", quantile(rate, 0.5), "NOPs/s", "unix-socket",
         quantile(socket_rate, 0.5)});
  return 0;
}

}  // namespace ml::bench
