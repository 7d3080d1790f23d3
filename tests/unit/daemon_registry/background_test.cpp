#include "daemon/registry/background.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <vector>

namespace ml::daemon {
namespace {

// Lets threads wait for each other's steps.
class Steps {
 public:
  void done() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  void wait(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

TEST(Background, TasksOfOneUserFollowEachOther) {
  Background background(4);
  Steps finished;
  std::vector<int> order;  // no lock: that is what is tested
  std::atomic<int> at_once = 0, most = 0;
  for (int i = 0; i < 50; ++i)
    background.run(1000, [&, i] {
      most = std::max(most.load(), ++at_once);
      order.push_back(i);
      --at_once;
      finished.done();
    });
  finished.wait(50);
  EXPECT_EQ(most, 1);
  ASSERT_EQ(order.size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(Background, ALongTaskOfOneUserHoldsUpOnlyTheirs) {
  Background background(2);
  Steps begun, others, hers, release;
  background.run(1000, [&] {
    begun.done();
    release.wait(1);
    hers.done();
  });
  background.run(1000, [&] { hers.done(); });
  begun.wait(1);
  for (int i = 0; i < 10; ++i) background.run(1001, [&] { others.done(); });
  others.wait(10);
  release.done();
  hers.wait(2);
}

TEST(Background, StoppingTellsWhatRunsAndDropsWhatWaits) {
  Background background(1);
  Steps begun;
  bool told = false, ran = false;
  background.run(1000, [&] {
    begun.done();
    while (!background.stopping()) std::this_thread::yield();
    told = true;
  });
  background.run(1001, [&] { ran = true; });
  begun.wait(1);
  background.stop();
  EXPECT_TRUE(told);
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace ml::daemon
