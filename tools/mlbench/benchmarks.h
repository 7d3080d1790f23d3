// The benchmarks that there are, each in a file of its name.
#pragma once

#include "tools/mlbench/bench.h"

namespace ml::bench {

int run_bind(const Options& options);
int run_cpu(const Options& options);
int run_eval(const Options& options);
int run_model(const Options& options);
int run_ring(const Options& options);
int run_start(const Options& options);
int run_train(const Options& options);

}  // namespace ml::bench
