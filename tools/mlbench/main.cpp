// mlbench: measures, beside named peers, in one run. Data go to stdout, one JSON line a figure; all else to stderr.
// Exit codes: 0 measured, 1 failed, 2 usage.
#include <cstdio>
#include <string>
#include <string_view>

#include "ml/error.h"
#include "tools/mlbench/bench.h"

namespace {

void usage(std::FILE* to) {
  std::fputs("usage: mlbench [--quick] NAME [ARGUMENT...]\n\nbenchmarks:\n", to);
  for (const ml::bench::Benchmark& b : ml::bench::benchmarks())
    std::fprintf(to, "  %-8s %s\n", std::string(b.name).c_str(), std::string(b.summary).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  ml::bench::Options options;
  std::string_view name;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--help" || arg == "-h") {
      usage(stdout);
      return 0;
    }
    if (arg == "--quick")
      options.quick = true;
    else if (name.empty())
      name = arg;
    else
      options.args.emplace_back(arg);
  }
  for (const ml::bench::Benchmark& b : ml::bench::benchmarks()) {
    if (b.name != name) continue;
    try {
      return b.run(options);
    } catch (const ml::Error& error) {
      std::fprintf(stderr, "mlbench %s: %s\n", std::string(name).c_str(), error.what());
      return 1;
    }
  }
  if (!name.empty()) std::fprintf(stderr, "mlbench: no benchmark is called \"%s\"\n", std::string(name).c_str());
  usage(stderr);
  return 2;
}
