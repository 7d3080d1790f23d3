#include "daemon/workers/statistics.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace ml::daemon {

namespace protocol = worker_protocol;

namespace {

constexpr std::uint64_t kPatienceNs = 500'000'000;
constexpr std::size_t kMostSessions = 1 << 16;  // of one worker; more than it can have

struct Gathering : std::enable_shared_from_this<Gathering> {
  Gathering(Loop& on, std::function<void(Statistics)> then) : loop(on), done(std::move(then)) {}

  void ask(WorkerProcess& worker, std::uint64_t after) {
    protocol::Statistics request{};
    request.header.kind = static_cast<std::uint32_t>(protocol::Kind::statistics);
    request.after = after;
    worker.request(request, {}, [self = shared_from_this(), &worker](transport::Packet* packet, const Error*) {
      const auto* answer = packet ? packet->as<protocol::SessionStatistics>() : nullptr;
      self->take(worker, answer);
    });
  }

  // An answer came, so `worker` lives, or none ever will (null).
  void take(WorkerProcess& worker, const protocol::SessionStatistics* answer) {
    if (!done) return;  // too late
    if (!answer) return finish_one(&worker, false);
    const std::uint32_t count = std::min(answer->count, protocol::kStatisticsEntries);
    WorkerStatistics& partial = coming[&worker];
    partial.worker = *answer;
    partial.sessions.insert(partial.sessions.end(), answer->entries, answer->entries + count);
    if (count == protocol::kStatisticsEntries && partial.sessions.size() < kMostSessions)
      return ask(worker, partial.sessions.back().session);
    finish_one(&worker, true);
  }

  void finish_one(const WorkerProcess* worker, bool complete) {
    const auto found = coming.find(worker);
    if (complete && found != coming.end()) gathered[worker] = std::move(found->second);
    if (--open == 0) finish();
  }
  void finish() {
    if (!done) return;
    loop.cancel(timer);
    std::exchange(done, nullptr)(std::move(gathered));
  }

  Loop& loop;
  std::function<void(Statistics)> done;  // null: called
  Loop::TimerId timer = 0;
  std::size_t open = 0;
  Statistics coming, gathered;
};

}  // namespace

void gather_statistics(Loop& loop, const std::vector<WorkerProcess*>& workers, std::function<void(Statistics)> done) {
  const auto gathering = std::make_shared<Gathering>(loop, std::move(done));
  for (WorkerProcess* worker : workers) {
    if (!worker || !worker->ready()) continue;
    ++gathering->open;
    gathering->ask(*worker, 0);
  }
  const std::uint64_t patience = gathering->open == 0 ? 0 : kPatienceNs;
  gathering->timer = loop.after(patience, [gathering] { gathering->finish(); });
}

}  // namespace ml::daemon
