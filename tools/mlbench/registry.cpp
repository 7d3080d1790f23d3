// The table of benchmarks: a row each.
#include "tools/mlbench/benchmarks.h"

namespace ml::bench {

namespace {

constexpr Benchmark table[] = {
    {"ring",
     "[--via unix|kernel|embedded] a NOP's round trip, spinning and asleep, and NOPs per second, beside eventfd and "
     "unix "
     "sockets",
     run_ring},
    {"model", "a batch of the demo's model behind mld, beside the same embedded", run_model},
    {"eval", "an expression of ten operations, repeated and new, beside PyTorch", run_eval},
    {"start", "mld from exec to ready", run_start},
    {"train", "a step of the demo's training, beside PyTorch", run_train},
};

}  // namespace

std::span<const Benchmark> benchmarks() { return table; }

}  // namespace ml::bench
