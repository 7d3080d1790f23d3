// Threads for what would hold up the loop: copying a model's bytes and hashing them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace ml::daemon {

class Background {
 public:
  explicit Background(unsigned threads);
  ~Background() { stop(); }
  // Waits for the tasks that run, which see stopping(); those that have not begun never run.
  void stop();

  // Runs it on some thread; of one user's tasks one at a time, in order. A task throws nothing.
  void run(std::uint32_t uid, std::function<void()> task);
  const std::atomic<bool>& stopping() const { return stopping_; }

 private:
  struct Task {
    std::uint32_t uid;
    std::function<void()> run;
  };
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Task> waiting_;
  std::set<std::uint32_t> busy_;  // whose tasks run now
  std::atomic<bool> stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ml::daemon
