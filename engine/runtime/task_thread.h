// A thread that does one task after the other: what executors and compile threads are.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "engine/runtime/fair_share.h"
#include "engine/runtime/mailbox.h"
#include "engine/runtime/task.h"
#include "engine/runtime/wakeup.h"

namespace ml::runtime {

struct TaskThreadOptions {
  std::string name;
  std::uint64_t spin = 0;            // ns that it polls after work that was shorter before it sleeps
  int niceness = 0;                  // where lowering its own priority is refused it runs at the usual one
  std::uint64_t* running = nullptr;  // where it says for which session it works; 0: none. May be null.
  std::function<bool()> idle = {};   // called behind a task while none waits, until it answers false. May be empty.
};

class TaskThread {
 public:
  using Work = std::function<void(Task&)>;  // fills in the task's answer

  // Wakes the ring thread through `done`.
  TaskThread(Work work, Wakeup& done, TaskThreadOptions options);
  ~TaskThread();  // nothing is with it any more
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  // The ring thread's side. One task runs and one of the same queue waits, so that there is no gap between them.
  static constexpr std::uint32_t kDepth = 2;
  std::uint32_t outstanding() const { return outstanding_; }
  std::uint64_t since() const { return since_; }         // when what it works on now became its first task
  const FairShare::User* user() const { return user_; }  // that it works for
  bool serves(const Queue& queue) const { return outstanding_ != 0 && queue_ == &queue; }
  void hand_over(Task& task, FairShare::User& user, std::uint64_t now);
  Task* take_back(std::uint64_t now);
  bool has_results() const { return !results_.empty(); }

 private:
  void run();
  void say_running(std::uint64_t session);

  Work work_;
  Wakeup& done_;
  TaskThreadOptions options_;
  std::uint32_t outstanding_ = 0;
  std::uint64_t since_ = 0;
  const Queue* queue_ = nullptr;
  const FairShare::User* user_ = nullptr;
  Mailbox<Task*, kDepth> tasks_;
  Mailbox<Task*, kDepth> results_;
  Sleeper sleeper_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace ml::runtime
