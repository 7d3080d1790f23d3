// mlbench bind: what a loaded model's next shapes cost, and a decoder whose every token has a new one.
#include <algorithm>
#include <cstdio>
#include <sstream>
#include <string>

#include "ml/error.h"
#include "tools/mlbench/ask_models.h"
#include "tools/mlbench/benchmarks.h"

namespace ml::bench {
namespace {

constexpr double kTolerance = 1e-3;  // of the largest of the logits

struct Settings {
  std::vector<std::string> models;  // empty: all but the one for tests
  std::string threads = "1", rounds = "15", tokens = "128";
};

Settings parse(const Options& options) {
  Settings settings;
  if (options.quick) settings.rounds = "3";
  for (std::size_t i = 0; i < options.args.size(); ++i) {
    const std::string& option = options.args[i];
    std::string* const number = option == "--threads"  ? &settings.threads
                                : option == "--rounds" ? &settings.rounds
                                : option == "--tokens" ? &settings.tokens
                                                       : nullptr;
    if ((number == nullptr && option != "--model") || i + 1 == options.args.size())
      throw Error(Code::invalid_argument, option + ": unknown, or its value is missing", {},
                  "there are --model, --threads, --rounds and --tokens");
    const std::string& value = options.args[++i];
    if (number == nullptr) {
      settings.models.push_back(value);
      continue;
    }
    if (value.empty() || value.size() > 4 || value.find_first_not_of("0123456789") != std::string::npos ||
        value.find_first_not_of('0') == std::string::npos)
      throw Error(Code::invalid_argument, option + ": a number from 1 to 9999 is needed", value);
    *number = value;
  }
  if (settings.models.empty()) {
    std::istringstream list(ask_models({"bindable"}));
    for (std::string name; std::getline(list, name);) {
      if (name != "tiny") settings.models.push_back(name);
    }
  }
  return settings;
}

void measure(const std::string& model, const Settings& settings) {
  double nodes = 0, first = 0, ms = 0, packed = 0, more = 0, arena = 0, bound = 0;
  std::istringstream(ask_models({"bind", model, settings.threads, settings.rounds})) >> nodes >> first >> ms >>
      packed >> more >> arena >> bound;
  const std::string config = "model=" + model + " threads=" + settings.threads;
  print({.bench = "bind.first", .config = config, .value = first, .unit = "ms"});
  print({.bench = "bind.new_shape", .config = config, .value = 100 * ms / nodes, .unit = "ms/100 nodes"});
  print({.bench = "bind.packed_by_first", .config = config, .value = packed, .unit = "bytes"});
  print({.bench = "bind.packed_by_others", .config = config, .value = more, .unit = "bytes"});
  print({.bench = "bind.arena",
         .config = config,
         .value = arena,
         .unit = "bytes",
         .peer = "largest live set",
         .peer_value = bound});
}

int decode(const Settings& settings) {
  double growing = 0, binding = 0, fixed = 0, apart = 0;
  std::istringstream(ask_models({"decode", settings.threads, settings.tokens})) >> growing >> binding >> fixed >> apart;
  const std::string config = "model=gpt2 tokens=" + settings.tokens + " threads=" + settings.threads;
  print({.bench = "bind.decode",
         .config = config + " cache=growing",
         .value = growing,
         .unit = "ms/token",
         .peer = "cache of fixed capacity",
         .peer_value = fixed});
  print({.bench = "bind.decode.binding", .config = config, .value = binding, .unit = "ms/token"});
  print({.bench = "bind.decode.values", .config = config, .value = apart, .unit = "of the largest"});
  if (apart <= kTolerance) return 0;
  std::fprintf(stderr, "mlbench bind: the two caches give other logits: %g of the largest, at most %g is allowed\n",
               apart, kTolerance);
  return 1;
}

}  // namespace

int run_bind(const Options& options) {
  const Settings settings = parse(options);
  for (const std::string& model : settings.models) measure(model, settings);
  const bool decodes = std::ranges::find(settings.models, "gpt2_decode") != settings.models.end();
  return decodes ? decode(settings) : 0;
}

}  // namespace ml::bench
