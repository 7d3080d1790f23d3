// What `mlbench cpu` has measured, as JSON lines and as the tables of docs/performance.md.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tools/mlbench/roof.h"

namespace ml::bench {

struct Latency {
  double p50 = 0, p99 = 0;  // ms
  std::size_t runs = 0;
  double peak_mb = 0;
};
struct Work {
  double flops = 0, bytes = 0, weights = 0;
};

// One model at one batch with so many threads. Contestants by name; ours is "mlaccel".
struct CaseResult {
  std::string model;
  int threads = 0;
  std::int64_t batch = 0;
  Work work;
  Roof roof;
  std::map<std::string, Latency> latency;
  std::map<std::string, double> apart;  // from each peer, of the largest element
  double idle = 0;                      // CPU time that those used whose turn it was not, of the time of the turns

  // What the roofs allow: the longer of computing and moving, ms.
  double least_ms() const;
  std::string config() const;
};

struct LoadResult {
  std::string model;
  int threads = 0;
  std::int64_t batch = 0;
  struct Times {
    double cold = 0, warm = 0;  // process start to first output, s
    double library = 0;         // warm, without starting the process and its libraries
    double evicted = 0;         // share of the files that was cold
    double peak_mb = 0;
  };
  std::map<std::string, Times> times;
};

inline constexpr const char* kOurs = "mlaccel";

void print(const CaseResult& result);
void print(const LoadResult& result);
// Geometric means of the ratios, for each number of threads and batch and of all.
void print_means(const std::vector<CaseResult>& results);

std::string tables(const std::vector<CaseResult>& results, const std::vector<LoadResult>& loads);

}  // namespace ml::bench
