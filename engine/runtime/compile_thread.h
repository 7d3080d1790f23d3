// A thread of low priority that turns graphs into programs and programs into plans.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/runtime/task.h"
#include "engine/runtime/wakeup.h"

namespace ml::runtime {

class CompileThread {
 public:
  CompileThread(Device& device, Wakeup& done);
  ~CompileThread();  // nothing is with it any more
  CompileThread(const CompileThread&) = delete;
  CompileThread& operator=(const CompileThread&) = delete;

  // The ring thread's side.
  void hand_over(Task& task);
  Task* take_back();
  bool has_results() const { return has_results_.load(std::memory_order_acquire); }

 private:
  void run();

  Device& device_;
  Wakeup& done_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task*> work_;
  std::deque<Task*> results_;
  std::atomic<bool> has_results_{false};
  bool stop_ = false;
  std::thread thread_;
};

// COMPILE: the program of the graph in the arguments. EXECUTE: the plan for call->shapes.
void compile_task(Task& task, Device& device);

}  // namespace ml::runtime
