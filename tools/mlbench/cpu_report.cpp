#include "tools/mlbench/cpu_report.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <set>

#include "tools/mlbench/bench.h"

namespace ml::bench {
namespace {

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(line, sizeof line, pattern, arguments);
  va_end(arguments);
  return line;
}

std::string joined(std::string text, const char* key, const std::string& value) {
  text += key;
  return text += value;
}

// All peers that took part somewhere.
template <class Result, class Map>
std::set<std::string> peers_of(const std::vector<Result>& results, Map Result::*by_name) {
  std::set<std::string> peers;
  for (const Result& result : results) {
    for (const auto& [name, value] : result.*by_name) {
      if (name != kOurs) peers.insert(name);
    }
  }
  return peers;
}

// Of ours to theirs, over the cases that fit.
template <class Fits>
double mean_ratio(const std::vector<CaseResult>& results, const std::string& peer, Fits fits) {
  double sum = 0, count = 0;
  for (const CaseResult& result : results) {
    const auto theirs = result.latency.find(peer);
    if (theirs == result.latency.end() || !fits(result)) continue;
    sum += std::log(result.latency.at(kOurs).p50 / theirs->second.p50);
    ++count;
  }
  return count > 0 ? std::exp(sum / count) : 0;
}

std::string latency_table(const std::vector<CaseResult>& results) {
  const std::set<std::string> peers = peers_of(results, &CaseResult::latency);
  std::string head = "| model | batch | threads | mlaccel p50 (p99) ms |", line = "|---|---|---|---|";
  for (const std::string& peer : peers) head += " " + peer + " | ratio |", line += "---|---|";
  std::string out = head + " of the machine's limit |\n" + line + "---|\n";
  for (const CaseResult& result : results) {
    const Latency& ours = result.latency.at(kOurs);
    out += format("| %s | %ld | %d | %.2f (%.2f) |", result.model.c_str(), static_cast<long>(result.batch),
                  result.threads, ours.p50, ours.p99);
    for (const std::string& peer : peers) {
      const auto theirs = result.latency.find(peer);
      out += theirs == result.latency.end() ? " | |"
                                            : format(" %.2f (%.2f) | %.2f |", theirs->second.p50, theirs->second.p99,
                                                     ours.p50 / theirs->second.p50);
    }
    out += format(" %.0f %% |\n", 100 * result.least_ms() / ours.p50);
  }
  out += "| geometric mean | | | |";
  for (const std::string& peer : peers)
    out += format(" | %.2f |", mean_ratio(results, peer, [](const CaseResult&) { return true; }));
  return out + " |\n";
}

std::string work_table(const std::vector<CaseResult>& results) {
  std::string out =
      "| model | batch | GFLOP | MB moved at the least | threads | least ms | mlaccel GFLOP/s | GB/s |\n"
      "|---|---|---|---|---|---|---|---|\n";
  for (const CaseResult& result : results) {
    const double p50 = result.latency.at(kOurs).p50;
    out += format("| %s | %ld | %.2f | %.1f | %d | %.2f | %.1f | %.1f |\n", result.model.c_str(),
                  static_cast<long>(result.batch), result.work.flops / 1e9, result.work.bytes / 1e6, result.threads,
                  result.least_ms(), result.work.flops / p50 / 1e6, result.work.bytes / p50 / 1e6);
  }
  return out;
}

std::string load_table(const std::vector<LoadResult>& loads) {
  const std::set<std::string> peers = peers_of(loads, &LoadResult::times);
  std::vector<std::string> all{kOurs};
  all.insert(all.end(), peers.begin(), peers.end());
  std::string head = "| model |", line = "|---|";
  for (const std::string& name : all) head += " " + name + " cold / warm s (library alone), MB |", line += "---|";
  std::string out = head + "\n" + line + "\n";
  for (const LoadResult& load : loads) {
    out += "| " + load.model + " |";
    for (const std::string& name : all) {
      const auto times = load.times.find(name);
      out += times == load.times.end() ? " |"
                                       : format(" %.2f / %.2f (%.2f), %.0f |", times->second.cold, times->second.warm,
                                                times->second.library, times->second.peak_mb);
    }
    out += "\n";
  }
  return out;
}

}  // namespace

double CaseResult::least_ms() const { return 1e3 * std::max(work.flops / roof.flops, work.bytes / roof.bytes); }

std::string CaseResult::config() const {
  return "model=" + model + " batch=" + std::to_string(batch) + " threads=" + std::to_string(threads);
}

void print(const CaseResult& result) {
  const Latency& ours = result.latency.at(kOurs);
  const auto pair = [&](const char* bench, const std::string& config, const char* unit, const auto& value) {
    if (result.latency.size() == 1) print(Figure{bench, config, value(ours), unit, "", 0});
    for (const auto& [name, theirs] : result.latency) {
      if (name != kOurs) print(Figure{bench, config, value(ours), unit, name, value(theirs)});
    }
  };
  const std::string config = result.config(), runs = " runs=" + std::to_string(ours.runs);
  pair("cpu.latency", config + " stat=p50" + runs, "ms", [](const Latency& l) { return l.p50; });
  pair("cpu.latency", config + " stat=p99" + runs, "ms", [](const Latency& l) { return l.p99; });
  pair("cpu.limit", config + " stat=p50", "% of the machine's limit",
       [&](const Latency& l) { return 100 * result.least_ms() / l.p50; });
  pair("cpu.bandwidth", config + " stat=p50", "% of the memory bandwidth",
       [&](const Latency& l) { return 1e5 * result.work.bytes / result.roof.bytes / l.p50; });
  pair("cpu.memory", config + " stat=peak", "MB", [](const Latency& l) { return l.peak_mb; });
  print(Figure{"cpu.work", config + " stat=computed", result.work.flops / 1e9, "GFLOP", "", 0});
  print(Figure{"cpu.work", config + " stat=moved", result.work.bytes / 1e6, "MB at the least", "", 0});
  print(Figure{"cpu.idle", config, 100 * result.idle, "% of a CPU used by those who wait", "", 0});
  for (const auto& [name, apart] : result.apart)
    print(Figure{"cpu.values", joined(config, " against=", name), apart, "of the largest element", "", 0});
}

void print(const LoadResult& result) {
  const LoadResult::Times& ours = result.times.at(kOurs);
  const std::string config =
      "model=" + result.model + " batch=" + std::to_string(result.batch) + " threads=" + std::to_string(result.threads);
  const auto all = [&](const char* bench, const std::string& stat, const char* unit, double LoadResult::Times::*value) {
    if (result.times.size() == 1) print(Figure{bench, config + stat, ours.*value, unit, "", 0});
    for (const auto& [name, theirs] : result.times) {
      if (name != kOurs) print(Figure{bench, config + stat, ours.*value, unit, name, theirs.*value});
    }
  };
  all("cpu.load", " stat=cold", "s", &LoadResult::Times::cold);
  all("cpu.load", " stat=warm", "s", &LoadResult::Times::warm);
  all("cpu.load", " stat=library", "s", &LoadResult::Times::library);
  all("cpu.load", " stat=peak", "MB", &LoadResult::Times::peak_mb);
  for (const auto& [name, times] : result.times)
    print(Figure{"cpu.cold", joined(config, " of=", name), 100 * times.evicted, "% of its files not cached", "", 0});
}

void print_means(const std::vector<CaseResult>& results) {
  std::set<std::pair<int, std::int64_t>> groups;
  for (const CaseResult& result : results) groups.emplace(result.threads, result.batch);
  for (const std::string& peer : peers_of(results, &CaseResult::latency)) {
    const auto figure = [&](const std::string& config, auto fits) {
      print(Figure{"cpu.mean", joined(config, " stat=p50 against=", peer), mean_ratio(results, peer, fits), "ratio", "",
                   0});
    };
    for (const auto& [threads, batch] : groups) {
      figure("batch=" + std::to_string(batch) + " threads=" + std::to_string(threads),
             [t = threads, b = batch](const CaseResult& r) { return r.threads == t && r.batch == b; });
    }
    figure("all", [](const CaseResult&) { return true; });
  }
}

std::string tables(const std::vector<CaseResult>& results, const std::vector<LoadResult>& loads) {
  std::string out;
  std::set<int> seen;
  for (const CaseResult& result : results) {
    if (seen.insert(result.threads).second)
      out += format("Measured at the most, %d threads: %.1f GFLOP/s, %.1f GB/s.\n", result.threads,
                    result.roof.flops / 1e9, result.roof.bytes / 1e9);
  }
  return out + "\n" + latency_table(results) + "\n" + work_table(results) + "\n" + load_table(loads);
}

}  // namespace ml::bench
