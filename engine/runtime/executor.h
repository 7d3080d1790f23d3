// A thread that runs plans and copies on a stream of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "engine/runtime/fair_share.h"
#include "engine/runtime/mailbox.h"
#include "engine/runtime/stream_context.h"
#include "engine/runtime/task.h"
#include "engine/runtime/wakeup.h"

namespace ml::runtime {

class Executor {
 public:
  // Polls for `spin` ns after work that was short before it sleeps; wakes the ring thread through `done`.
  Executor(Device& device, Wakeup& done, std::uint64_t spin, std::uint32_t number);
  ~Executor();  // nothing is with it any more
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // The ring thread's side. One task runs and one of the same queue waits, so that there is no gap between them.
  static constexpr std::uint32_t kDepth = 2;
  std::uint32_t outstanding() const { return outstanding_; }
  const FairShare::User* user() const { return user_; }  // that it works for
  bool serves(const Queue& queue) const { return outstanding_ != 0 && queue_ == &queue; }
  std::uint64_t since() const { return since_; }  // when what it works on now became its first task
  bool hand_over(Task& task, std::uint64_t now);
  Task* take_back(std::uint64_t now);
  bool has_results() const { return !results_.empty(); }

 private:
  void run();

  StreamContext context_;
  Wakeup& done_;
  std::uint64_t spin_;
  std::uint32_t outstanding_ = 0;
  std::uint64_t since_ = 0;
  const Queue* queue_ = nullptr;  // that it works for
  const FairShare::User* user_ = nullptr;
  Mailbox<Task*, kDepth> work_;
  Mailbox<Task*, kDepth> results_;
  Sleeper sleeper_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// What an executor does with one task: fills in its answer.
void run_task(Task& task, StreamContext& context);

}  // namespace ml::runtime
