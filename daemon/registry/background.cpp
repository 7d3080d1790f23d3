#include "daemon/registry/background.h"

#include <algorithm>
#include <utility>

namespace ml::daemon {

Background::Background(unsigned threads) {
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

void Background::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Background::run(std::uint32_t uid, std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back({uid, std::move(task)});
  }
  changed_.notify_one();
}

void Background::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto next =
        std::find_if(waiting_.begin(), waiting_.end(), [&](const Task& task) { return !busy_.contains(task.uid); });
    if (stopping_) return;
    if (next == waiting_.end()) {
      changed_.wait(lock);
      continue;
    }
    Task task = std::move(*next);
    waiting_.erase(next);
    busy_.insert(task.uid);
    lock.unlock();
    task.run();
    task.run = nullptr;  // what it holds goes before the next one of this user begins
    lock.lock();
    busy_.erase(task.uid);
    changed_.notify_one();  // a task of this user may have waited for that
  }
}

}  // namespace ml::daemon
