// mlbench cpu: whole models from ONNX files, embedded in a process, beside ONNX Runtime and OpenVINO in theirs. All are
// pinned to the same CPUs, have as many threads, take turns and sleep while it isn't theirs; what they compute is
// compared.
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include "ml/error.h"
#include "tools/mlbench/ask_models.h"
#include "tools/mlbench/benchmarks.h"
#include "tools/mlbench/cpu_contest.h"
#include "tools/mlbench/cpu_report.h"
#include "tools/mlbench/installed.h"
#include "tools/mlbench/page_cache.h"
#include "tools/mlbench/private_daemon.h"

namespace ml::bench {
namespace {

constexpr double kTurn = 0.25;           // seconds, or one run if that takes longer
constexpr double kTolerance = 1e-3;      // of an output's largest element
constexpr double kIdleTolerance = 0.02;  // CPU time of those who wait, of the time of the turns

struct Settings {
  std::vector<std::string> models;  // empty: all but those for tests
  std::vector<int> threads{1, 2}, batches{1, 8};
  std::vector<std::string> peers{"onnxruntime", "openvino"};
  int rounds = 8;
  int loads = 3;
  bool profile = false;
  std::string python, folder, table;
};

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  std::istringstream words(list);
  for (std::string part; std::getline(words, part, ',');) parts.push_back(part);
  return parts;
}

std::vector<int> numbers(const std::string& option, const std::string& list, int least, int most) {
  std::vector<int> values;
  for (const std::string& part : split(list)) {
    int value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || value < least || value > most)
      throw Error(Code::invalid_argument,
                  option + ": each must be a number from " + std::to_string(least) + " to " + std::to_string(most),
                  list);
    values.push_back(value);
  }
  return values;
}

Settings parse(const Options& options) {
  Settings settings;
  if (options.quick) settings.rounds = settings.loads = 1;
  const int cpus = static_cast<int>(allowed_cpus().size());
  for (std::size_t i = 0; i < options.args.size(); ++i) {
    const std::string& option = options.args[i];
    if (option == "--profile") {
      settings.profile = true;
      continue;
    }
    if (i + 1 == options.args.size())
      throw Error(Code::invalid_argument, option + ": unknown, or its value is missing");
    const std::string& value = options.args[++i];
    if (option == "--model")
      settings.models.push_back(value);
    else if (option == "--threads")
      settings.threads = numbers(option, value, 1, cpus);
    else if (option == "--batch")
      settings.batches = numbers(option, value, 1, 1024);
    else if (option == "--rounds")
      settings.rounds = numbers(option, value, 1, 1000).at(0);
    else if (option == "--loads")
      settings.loads = numbers(option, value, 0, 1000).at(0);
    else if (option == "--peer")
      settings.peers = value == "none" ? std::vector<std::string>{} : split(value);
    else if (option == "--python")
      settings.python = value;
    else if (option == "--folder")
      settings.folder = value;
    else if (option == "--table")
      settings.table = value;
    else
      throw Error(Code::invalid_argument, option + ": unknown", {},
                  "there are --model, --threads, --batch, --rounds, --loads, --peer, --python, --folder, --table and "
                  "--profile");
  }
  std::erase_if(settings.threads, [cpus](int threads) { return threads > cpus; });
  if (settings.python.empty() && !settings.peers.empty() && !settings.profile)
    settings.python = installed_file({"../bench-venv/bin/python"});
  return settings;
}

class CpuBench {
 public:
  explicit CpuBench(Settings settings) : settings_(std::move(settings)) {
    if (settings_.folder.empty()) {
      temporary_.emplace();
      settings_.folder = temporary_->file("");
    }
    if (settings_.models.empty()) {
      std::istringstream list(ask_models({"list"}));
      for (std::string line; std::getline(list, line);) {
        const std::string name = line.substr(0, line.find('\t'));
        if (name != "tiny") settings_.models.push_back(name);
      }
    }
  }

  int run() {
    if (!settings_.profile) {
      entrants_ = entrants(settings_.peers, settings_.python);
      for (const int threads : settings_.threads) measure_limits(threads);
    }
    for (const std::string& model : settings_.models) {
      const std::string path = model_file(model);
      if (!settings_.profile && settings_.loads > 0) load(model, path);
      for (const int batch : settings_.batches) {
        const std::string inputs = inputs_file(model, batch);
        for (const int threads : settings_.threads)
          settings_.profile ? profile(model, path, inputs, batch, threads)
                            : measure(model, path, inputs, batch, threads);
      }
      if (temporary_) std::filesystem::remove(path);
    }
    if (!settings_.profile) print_means(results_);
    if (!settings_.table.empty()) std::ofstream(settings_.table) << tables(results_, loads_);
    return wrong_ ? 1 : 0;
  }

 private:
  // The last of those allowed: the first is where most interrupts go.
  static std::vector<int> cpus_for(int threads) {
    const std::vector<int> all = allowed_cpus();
    return {all.end() - threads, all.end()};
  }

  std::string file(const std::string& name) const { return settings_.folder + "/" + name; }
  std::string model_file(const std::string& model) const {
    std::string path = file(model + ".onnx");
    if (!std::filesystem::exists(path)) ask_models({"write", model, path});
    return path;
  }
  std::string inputs_file(const std::string& model, int batch) const {
    std::string path = file(model + "." + std::to_string(batch) + ".inputs");
    ask_models({"inputs", model, std::to_string(batch), path});
    return path;
  }

  void measure_limits(int threads) {
    const Roof roof = measure_roof(cpus_for(threads));
    roofs_[threads] = roof;
    const std::string config = "threads=" + std::to_string(threads);
    print({.bench = "cpu.roof", .config = config, .value = roof.flops / 1e9, .unit = "GFLOP/s"});
    print({.bench = "cpu.roof", .config = config, .value = roof.bytes / 1e9, .unit = "GB/s"});
  }

  // Nothing, once said, when the environment lacks it.
  std::optional<Contender> start(const Entrant& entrant, const std::string& path, const std::string& inputs,
                                 int threads) {
    std::optional<Contender> contender = Contender::start(entrant, path, inputs, threads, cpus_for(threads));
    if (contender) return contender;
    std::fprintf(stderr, "mlbench: %s has no %s to compare with\n", settings_.python.c_str(), entrant.kind.c_str());
    std::erase_if(entrants_, [kind = entrant.kind](const Entrant& e) { return e.kind == kind; });
    return std::nullopt;
  }

  // Process start to first output, cold once and then warm by turns.
  void load(const std::string& model, const std::string& path) {
    const int threads = settings_.threads.back(), batch = settings_.batches.front();
    const std::string inputs = inputs_file(model, batch);
    LoadResult result{model, threads, batch, {}};
    std::map<std::string, std::vector<double>> warm, library;
    for (const Entrant& entrant : std::vector<Entrant>(entrants_)) {
      std::vector<std::string> files;
      if (std::optional<Contender> first = start(entrant, path, inputs, threads))
        files = first->process().mapped_files();
      else
        continue;
      files.push_back(path);
      const double evicted = evict(files);
      const std::optional<Contender> cold = start(entrant, path, inputs, threads);
      result.times[cold->name()] = {.cold = cold->seconds_to_output(), .evicted = evicted};
    }
    for (int i = 0; i < settings_.loads; ++i) {
      for (const Entrant& entrant : entrants_) {
        std::optional<Contender> contender = start(entrant, path, inputs, threads);
        warm[contender->name()].push_back(contender->seconds_to_output());
        library[contender->name()].push_back(contender->seconds_to_load());
        result.times[contender->name()].peak_mb = static_cast<double>(contender->process().peak_bytes()) / 1e6;
      }
    }
    for (auto& [name, times] : result.times) {
      times.warm = quantile(warm.at(name), 0.5);
      times.library = quantile(library.at(name), 0.5);
    }
    print(result);
    loads_.push_back(std::move(result));
  }

  void measure(const std::string& model, const std::string& path, const std::string& inputs, int batch, int threads) {
    CaseResult result{model, threads, batch, work(path, inputs), roofs_.at(threads), {}, {}, 0};
    std::vector<Contender> contenders;
    for (const Entrant& entrant : std::vector<Entrant>(entrants_)) {
      if (auto contender = start(entrant, path, inputs, threads)) contenders.push_back(std::move(*contender));
    }
    for (Contender& contender : contenders) contender.time(2, 1);  // warm

    std::vector<std::vector<double>> times(contenders.size());
    std::uint64_t turns = 0, idle = 0;
    for (int round = 0; round < settings_.rounds; ++round) {
      for (std::size_t i = 0; i < contenders.size(); ++i) {
        const std::uint64_t waiting = used_by_others(contenders, i), began = now_ns();
        const std::vector<double> more = contenders[i].time(1'000'000, kTurn);
        turns += now_ns() - began;
        idle += used_by_others(contenders, i) - waiting;
        times[i].insert(times[i].end(), more.begin(), more.end());
      }
    }
    result.idle = static_cast<double>(idle) / static_cast<double>(turns);
    if (result.idle > kIdleTolerance) fail(result.config() + ": contestants do not sleep while others run");
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      Latency& latency = result.latency[contenders[i].name()];
      latency = {quantile(times[i], 0.5), quantile(times[i], 0.99), times[i].size(),
                 static_cast<double>(contenders[i].process().peak_bytes()) / 1e6};
    }
    compare(contenders, result);
    print(result);
    results_.push_back(std::move(result));
  }

  static std::uint64_t used_by_others(std::vector<Contender>& contenders, std::size_t but) {
    std::uint64_t used = 0;
    for (std::size_t i = 0; i < contenders.size(); ++i) used += i == but ? 0 : contenders[i].process().cpu_time();
    return used;
  }

  void compare(std::vector<Contender>& contenders, CaseResult& result) {
    const std::string ours = file("ours"), theirs = file("theirs");
    contenders[0].write_outputs(ours);
    for (std::size_t i = 1; i < contenders.size(); ++i) {
      contenders[i].write_outputs(theirs);
      const double apart = difference(ours, theirs);
      result.apart[contenders[i].name()] = apart;
      if (!(apart <= kTolerance))
        fail(result.config() + ": " + contenders[i].name() + " computes other values: " + std::to_string(apart) +
             " of the largest element, at most " + std::to_string(kTolerance) + " are allowed");
    }
  }

  void fail(const std::string& why) {
    std::fprintf(stderr, "mlbench cpu: %s\n", why.c_str());
    wrong_ = true;
  }

  static Work work(const std::string& path, const std::string& inputs) {
    Work work;
    std::istringstream(ask_models({"work", path, inputs})) >> work.flops >> work.bytes >> work.weights;
    return work;
  }

  static void profile(const std::string& model, const std::string& path, const std::string& inputs, int batch,
                      int threads) {
    const std::string text = ask_models({"profile", path, inputs, std::to_string(threads), "2"}, cpus_for(threads));
    std::printf("### %s, batch %d, threads %d\n\n%s\n", model.c_str(), batch, threads, text.c_str());
    std::fflush(stdout);
  }

  Settings settings_;
  std::optional<TemporaryFolder> temporary_;
  std::vector<Entrant> entrants_;
  std::map<int, Roof> roofs_;
  std::vector<CaseResult> results_;
  std::vector<LoadResult> loads_;
  bool wrong_ = false;
};

}  // namespace

int run_cpu(const Options& options) { return CpuBench(parse(options)).run(); }

}  // namespace ml::bench
