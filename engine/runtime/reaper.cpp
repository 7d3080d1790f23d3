#include "engine/runtime/reaper.h"

#include <pthread.h>

#include <utility>

namespace ml::runtime {

Reaper::Reaper() : thread_([this] { run(); }) { pthread_setname_np(thread_.native_handle(), "ml-reaper"); }

Reaper::~Reaper() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Reaper::hand_over(std::shared_ptr<void> garbage) {
  {
    const std::lock_guard lock(mutex_);
    garbage_.push_back(std::move(garbage));
  }
  changed_.notify_one();
}

void Reaper::run() {
  std::vector<std::shared_ptr<void>> taken;
  for (;;) {
    taken.clear();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stop_ || !garbage_.empty(); });
    if (garbage_.empty()) return;
    std::swap(taken, garbage_);
  }
}

}  // namespace ml::runtime
