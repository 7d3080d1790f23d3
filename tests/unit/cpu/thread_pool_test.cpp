#include "engine/backends/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <latch>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>
#include <vector>

namespace ml {
namespace {

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(ThreadPool, RunsEveryPartOnce) {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    for (const int parts : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<std::atomic<int>> counts(static_cast<std::size_t>(parts));
      pool.parallel_for(parts, [&](std::int64_t part) { ++counts[static_cast<std::size_t>(part)]; });
      for (const auto& count : counts) EXPECT_EQ(count.load(), 1) << threads << " threads, " << parts << " parts";
    }
  }
}

TEST(ThreadPool, RunsOnePartOnTheCaller) {
  ThreadPool pool(4);
  std::thread::id ran;
  pool.parallel_for(1, [&](std::int64_t) { ran = std::this_thread::get_id(); });
  EXPECT_EQ(ran, std::this_thread::get_id());
}

// What a thread wrote in one call is in its cache for the next: the part that it begins with is the same in all.
TEST(ThreadPool, BeginsWithThePartsOfTheCallBefore) {
  for (const int threads : {2, 3}) {
    constexpr std::int64_t kParts = 24;
    ThreadPool pool(threads);
    std::map<std::thread::id, std::int64_t> usual;
    for (int round = 0; round < 50; ++round) {
      std::mutex mutex;
      std::map<std::thread::id, std::int64_t> first;
      std::latch all(threads);
      pool.parallel_for(kParts, [&](std::int64_t part) {
        {
          const std::lock_guard lock(mutex);
          if (!first.emplace(std::this_thread::get_id(), part).second) return;
        }
        all.arrive_and_wait();  // nobody takes what others begin with
      });
      if (round == 0) usual = first;
      ASSERT_EQ(first, usual) << threads << " threads, round " << round;
      ASSERT_EQ(first[std::this_thread::get_id()], 0);
    }
    std::vector<std::int64_t> begins;
    for (const auto& [thread, part] : usual) begins.push_back(part);
    std::ranges::sort(begins);
    for (int i = 0; i < threads; ++i) EXPECT_EQ(begins[static_cast<std::size_t>(i)], kParts / threads * i);
  }
}

// Parts that run at once have different slots, and there are no more of them than threads or parts.
TEST(ThreadPool, GivesEachRunningPartASlotOfItsOwn) {
  for (const int threads : {1, 2, 3}) {
    for (const std::int64_t parts : {1, 2, 3, 50}) {
      ThreadPool pool(threads);
      std::vector<std::atomic<int>> inside(static_cast<std::size_t>(parts)), ran(static_cast<std::size_t>(parts));
      std::atomic<std::int64_t> highest = 0;
      for (int round = 0; round < 100; ++round) {
        pool.parallel_for(parts, [&](std::int64_t part, std::int64_t slot) {
          ASSERT_LT(slot, parts);
          auto& mine = inside[static_cast<std::size_t>(slot)];
          EXPECT_EQ(mine++, 0) << "slot " << slot;
          std::int64_t before = highest.load();
          while (before < slot && !highest.compare_exchange_weak(before, slot)) {
          }
          ++ran[static_cast<std::size_t>(part)];
          --mine;
        });
      }
      EXPECT_LT(highest, std::min<std::int64_t>(threads, parts));
      for (const auto& count : ran) EXPECT_EQ(count, 100) << threads << " threads, " << parts << " parts";
    }
  }
}

TEST(ThreadPool, TakesCallsFromSeveralThreadsAndFromParts) {
  ThreadPool pool(3);
  std::array<std::atomic<std::int64_t>, 4> sums{};
  {
    std::vector<std::jthread> callers;
    for (auto& sum : sums) {
      callers.emplace_back([&pool, &sum] {
        for (int round = 0; round < 200; ++round) {
          pool.parallel_for(4, [&](std::int64_t outer) {
            pool.parallel_for(3, [&](std::int64_t inner) { sum += outer * 3 + inner; });
          });
        }
      });
    }
  }
  for (const auto& sum : sums) EXPECT_EQ(sum.load(), 200 * 66);
}

TEST(ThreadPool, UsesNoCpuWhenIdle) {
  ThreadPool pool(2);
  std::atomic<int> ran = 0;
  pool.parallel_for(8, [&](std::int64_t) { ++ran; });
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(cpu_seconds() - before, 0.05);
  EXPECT_EQ(ran, 8);
}

TEST(ThreadPool, IsSharedByThoseWhoWantAsManyThreads) {
  const auto one = ThreadPool::of_process(2);
  EXPECT_EQ(one, ThreadPool::of_process(2));
  EXPECT_NE(one, ThreadPool::of_process(1));
  EXPECT_EQ(one->threads(), 2);
  EXPECT_EQ(ThreadPool::of_process(0)->threads(), available_cpus());
}

}  // namespace
}  // namespace ml
