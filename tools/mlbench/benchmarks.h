// The benchmarks that there are, each in a file of its name.
#pragma once

#include "tools/mlbench/bench.h"

namespace ml::bench {

int run_ring(const Options& options);

}  // namespace ml::bench
