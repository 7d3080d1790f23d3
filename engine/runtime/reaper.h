// A thread that frees what takes long to free: unmapping a gigabyte takes milliseconds that the ring thread hasn't got.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ml::runtime {

class Reaper {
 public:
  Reaper();
  ~Reaper();  // frees what is left
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;

  // Any thread: `garbage` and what it owns is destroyed on the reaper's thread.
  template <class T>
  void free(std::unique_ptr<T> garbage) {
    hand_over(std::shared_ptr<void>(std::move(garbage)));
  }
  template <class T>
  void free(std::shared_ptr<T> garbage) {
    hand_over(std::move(garbage));
  }

 private:
  void hand_over(std::shared_ptr<void> garbage);
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<void>> garbage_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace ml::runtime
