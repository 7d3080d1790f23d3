#include "tools/mlbench/roof.h"

#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "ml/error.h"
#include "tools/mlbench/bench.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tools/mlbench/roof.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ml::bench::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// As many chains as hide the latency of an FMA and still fit the registers. Answers the FLOPs done.
double multiply_add(std::int64_t turns, float* result) {
  const hn::ScalableTag<float> d;
  const auto a = hn::Set(d, 0.999999F), b = hn::Set(d, 1e-6F);
  auto c0 = hn::Iota(d, 0), c1 = hn::Iota(d, 1), c2 = hn::Iota(d, 2), c3 = hn::Iota(d, 3), c4 = hn::Iota(d, 4);
  auto c5 = hn::Iota(d, 5), c6 = hn::Iota(d, 6), c7 = hn::Iota(d, 7), c8 = hn::Iota(d, 8), c9 = hn::Iota(d, 9);
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    c0 = hn::MulAdd(c0, a, b), c1 = hn::MulAdd(c1, a, b), c2 = hn::MulAdd(c2, a, b), c3 = hn::MulAdd(c3, a, b);
    c4 = hn::MulAdd(c4, a, b), c5 = hn::MulAdd(c5, a, b), c6 = hn::MulAdd(c6, a, b), c7 = hn::MulAdd(c7, a, b);
    c8 = hn::MulAdd(c8, a, b), c9 = hn::MulAdd(c9, a, b);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(c0, c1), hn::Add(c2, c3)), hn::Add(hn::Add(c4, c5), hn::Add(c6, c7)));
  *result = hn::GetLane(hn::Add(sum, hn::Add(c8, c9)));
  return 20.0 * static_cast<double>(turns) * static_cast<double>(hn::Lanes(d));
}

void sum_up(const float* from, std::size_t count, float* result) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (std::size_t i = 0; i + 4 * lanes <= count; i += 4 * lanes) {
    s0 = hn::Add(s0, hn::Load(d, from + i)), s1 = hn::Add(s1, hn::Load(d, from + i + lanes));
    s2 = hn::Add(s2, hn::Load(d, from + i + 2 * lanes)), s3 = hn::Add(s3, hn::Load(d, from + i + 3 * lanes));
  }
  *result = hn::GetLane(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

}  // namespace
}  // namespace ml::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::bench {
namespace {

HWY_EXPORT(multiply_add);
HWY_EXPORT(sum_up);

constexpr int kRepetitions = 5;
constexpr std::int64_t kTurns = 40'000'000;           // about a third of a second
constexpr std::size_t kBytes = std::size_t{1} << 30;  // of all threads together

// Work per second of the best repetition; work(i) answers how much thread i did.
double best_rate(std::span<const int> cpus, const std::function<double(std::size_t)>& work) {
  std::barrier<> together(static_cast<std::ptrdiff_t>(cpus.size()));
  std::vector<std::vector<double>> done(cpus.size(), std::vector<double>(kRepetitions));
  std::vector<double> seconds(kRepetitions);
  const auto run = [&](std::size_t i) {
    pin(cpus[i]);
    for (std::size_t turn = 0; turn < kRepetitions; ++turn) {
      together.arrive_and_wait();
      const std::uint64_t began = now_ns();
      done[i][turn] = work(i);
      together.arrive_and_wait();
      if (i == 0) seconds[turn] = static_cast<double>(now_ns() - began) / 1e9;
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < cpus.size(); ++i) threads.emplace_back(run, i);
  for (std::thread& thread : threads) thread.join();
  double best = 0;
  for (std::size_t turn = 0; turn < kRepetitions; ++turn) {
    double all = 0;
    for (const auto& of_thread : done) all += of_thread[turn];
    best = std::max(best, all / seconds[turn]);
  }
  return best;
}

}  // namespace

Roof measure_roof(std::span<const int> cpus) {
  std::vector<float> sink(cpus.size() * 64);  // a cache line or more apart
  Roof roof;
  roof.flops =
      best_rate(cpus, [&](std::size_t i) { return HWY_DYNAMIC_DISPATCH(multiply_add)(kTurns, &sink[i * 64]); });

  const std::size_t count = kBytes / sizeof(float) / cpus.size() / 1024 * 1024;
  void* const pages = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw Error(Code::out_of_memory, "a gigabyte is needed to measure the memory's bandwidth");
  madvise(pages, kBytes, MADV_HUGEPAGE);  // advice: nothing depends on it
  auto* const memory = static_cast<float*>(pages);
  std::fill_n(memory, count * cpus.size(), 1.0F);
  roof.bytes = best_rate(cpus, [&](std::size_t i) {
    HWY_DYNAMIC_DISPATCH(sum_up)(memory + i * count, count, &sink[i * 64]);
    return static_cast<double>(count * sizeof(float));
  });
  munmap(pages, kBytes);
  return roof;
}

}  // namespace ml::bench
#endif
