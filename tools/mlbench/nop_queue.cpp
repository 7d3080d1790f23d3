#include "tools/mlbench/nop_queue.h"

#include <algorithm>

#include "libmlclient/transport/daemon_address.h"
#include "libmlclient/transport/daemon_session.h"
#include "ml/error.h"
#include "tools/mlbench/bench.h"

namespace ml::bench {
namespace {

void require(std::int32_t status) {
  if (status < 0) throw Error(static_cast<Code>(-status), mlengine_error(), "engine");
}

}  // namespace

void NopQueue::lost() {
  throw Error(Code::internal, std::string("the ring ended: ") + mlring_fault_text(ring().fault()));
}

void NopQueue::round_trip(bool asleep) {
  transport::ClientRing& client = ring();
  if (!client.submit(mlring_descriptor{}) || !client.wait({.long_work = asleep}) || !client.poll(answer_)) lost();
}

void NopQueue::stream(std::size_t count) {
  static constexpr std::array<mlring_descriptor, kBatch> batch{};
  transport::ClientRing& client = ring();
  std::size_t sent = 0, answered = 0;
  while (answered < count) {
    while (sent < count && client.credits() >= kBatch) sent += client.submit(batch);
    if (!client.wait({.completions = static_cast<std::uint32_t>(std::min(kBatch, count - answered))})) lost();
    while (client.poll(answer_)) ++answered;
  }
}

EmbeddedNopQueue::EmbeddedNopQueue(std::span<const int> cpus, int worker_cpu, std::uint32_t park_us) {
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
  require(mlengine_queue_create(session_, kDepth, &queue_, &info));
  mapping_.emplace(info.memory_fd, info.depth);
  ring_.emplace(mapping_->pages(), info.doorbell_fd, info.wake_fd);
}

EmbeddedNopQueue::~EmbeddedNopQueue() { mlengine_worker_destroy(worker_); }

DaemonNopQueue::DaemonNopQueue(const std::string& socket, const std::string& device, bool kernel) {
  const SessionOptions options{.device = device, .depth = kDepth};
  if (!kernel) {
    transport_ = transport::open_unix(socket, options, 0);
    return;
  }
  transport_ = transport::reach(socket, 0, [&](transport::UniqueFd connected) {
    auto session = std::make_unique<transport::DaemonSession>(std::move(connected), "unix:" + socket, options,
                                                              transport::protocol::kFeatureKernel);
    return transport::make_kernel(std::move(session), socket, options);
  });
}

}  // namespace ml::bench
