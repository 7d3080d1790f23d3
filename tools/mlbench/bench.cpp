#include "tools/mlbench/bench.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "ml/error.h"

namespace ml::bench {

namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

}  // namespace

void print(const Figure& f) {
  std::string line = "{\"bench\": " + quoted(f.bench) + ", \"config\": " + quoted(f.config) +
                     ", \"value\": " + number(f.value) + ", \"unit\": " + quoted(f.unit);
  if (!f.peer.empty())
    line += ", \"peer\": " + quoted(f.peer) + ", \"peer_value\": " + number(f.peer_value) +
            ", \"ratio\": " + number(f.value / f.peer_value);
  std::printf("%s}\n", line.c_str());
  std::fflush(stdout);
}

std::string Options::via(const std::string& otherwise) const {
  if (args.empty()) return otherwise;
  const std::string chosen = args.size() == 2 && args[0] == "--via" ? args[1] : "";
  if (chosen == "embedded" || chosen == "unix" || chosen == "kernel" ||
      (chosen.starts_with("unix:") && chosen.size() > 5))
    return chosen;
  throw Error(Code::invalid_argument,
              "no other arguments are known than --via embedded, --via unix, --via kernel and --via unix:PATH");
}

uint64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

double quantile(std::vector<double>& samples, double fraction) {
  std::sort(samples.begin(), samples.end());
  const auto at = static_cast<std::size_t>(fraction * static_cast<double>(samples.size()));
  return samples[std::min(at, samples.size() - 1)];
}

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

void pin(std::span<const int> cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) throw Error(Code::io, std::strerror(errno), "sched_setaffinity");
}

void interleave(int rounds, std::span<const std::function<void()>> contestants) {
  for (int round = 0; round < rounds; ++round)
    for (const auto& contestant : contestants) contestant();
}

}  // namespace ml::bench
