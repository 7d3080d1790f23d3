// What every benchmark shares: a figure is one JSON line on stdout, measured beside a named peer in the same run.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ml::bench {

struct Figure {
  std::string bench;   // "ring.sleeping"
  std::string config;  // what was set: "depth=256 stat=median"
  double value = 0;
  std::string unit;
  std::string peer;  // empty: there is none, and neither of the next two is printed
  double peer_value = 0;
};

// Prints {bench, config, value, unit, peer, peer_value, ratio}; ratio is value / peer_value.
void print(const Figure& figure);

struct Options {
  bool quick = false;             // fewer rounds: for trying it out
  std::vector<std::string> args;  // what stood behind the benchmark's name

  // For benchmarks that take no argument but --via: "embedded", "unix" (a mld of mlbench's own), "kernel" (the same,
  // through the kernel module), "unix:PATH" (the mld that listens there), or `otherwise` without it. Throws
  // invalid_argument for anything else.
  std::string via(const std::string& otherwise) const;
};

struct Benchmark {
  std::string_view name;
  std::string_view summary;
  int (*run)(const Options& options);  // an exit code
};

// All there are, in the order in which they are listed.
std::span<const Benchmark> benchmarks();

// CLOCK_MONOTONIC.
uint64_t now_ns();

// The value below which a fraction of the samples lie; sorts them. There must be at least one.
double quantile(std::vector<double>& samples, double fraction);

// The CPUs that this process may use.
std::vector<int> allowed_cpus();
// Binds the calling thread to these CPUs; throws ml::Error when that is refused.
void pin(std::span<const int> cpus);
inline void pin(int cpu) { pin({&cpu, 1}); }

// Runs all of them in turn, round after round (A B A B ...), so that a drifting machine touches all alike.
void interleave(int rounds, std::span<const std::function<void()>> contestants);

}  // namespace ml::bench
