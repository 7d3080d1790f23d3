// A mld-worker without mld: the test is its supervisor, on an event loop that runs while the test waits.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/loop/loop.h"
#include "daemon/workers/worker_process.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {

// Runs the loop until `condition` holds.
bool run_until(daemon::Loop& loop, const std::function<bool()>& condition, Milliseconds within = kPatience);

class OwnWorker {
 public:
  explicit OwnWorker(daemon::WorkerSpec spec = {.name = "test", .devices = {"cpu0"}, .backend = "cpu"});
  ~OwnWorker();

  // Answers are awaited; an error is thrown as it came.
  template <class T>
  transport::Packet request(T message, daemon::worker_protocol::Kind kind, std::initializer_list<int> fds = {}) {
    message.header.kind = static_cast<std::uint32_t>(kind);
    return request(std::as_writable_bytes(std::span(&message, 1)), std::vector<int>(fds));
  }
  void open_session(std::uint64_t session);
  std::unique_ptr<RawQueue> open_queue(std::uint64_t session, std::uint32_t queue = 1, std::uint32_t depth = 64);
  std::unique_ptr<RawArena> add_arena(std::uint64_t session, std::uint64_t bytes = 4u << 20);
  void load_model(std::uint64_t model, int file, std::uint64_t bytes);
  daemon::worker_protocol::SessionStatistics statistics();

  std::unique_ptr<daemon::Loop> loop;
  std::unique_ptr<daemon::WorkerProcess> worker;
  std::string death;  // how it died
  std::vector<daemon::worker_protocol::SessionEnded> ended;

 private:
  transport::Packet request(std::span<std::byte> message, const std::vector<int>& fds);
  transport::UniqueFd preemption_;
};

}  // namespace ml::test
