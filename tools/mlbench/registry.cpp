// The table of benchmarks: a row each.
#include "tools/mlbench/benchmarks.h"

namespace ml::bench {

namespace {

constexpr Benchmark table[] = {
    {"ring", "a NOP's round trip, spinning and asleep, and NOPs per second, beside eventfd and unix sockets", run_ring},
};

}  // namespace

std::span<const Benchmark> benchmarks() { return table; }

}  // namespace ml::bench
