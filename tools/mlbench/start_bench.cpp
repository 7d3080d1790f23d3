// How long mld takes from exec to ready: what a service manager waits for.
#include "tools/mlbench/benchmarks.h"
#include "tools/mlbench/private_daemon.h"

namespace ml::bench {

int run_start(const Options& options) {
  const TemporaryFolder folder;  // the state is made on the first start and found on later ones
  std::vector<double> times;
  for (int i = 0; i < (options.quick ? 5 : 50); ++i) times.push_back(PrivateDaemon(folder).milliseconds_to_ready());
  const double first = times.front();
  print({.bench = "start.first", .config = "mld --user, empty state", .value = first, .unit = "ms"});
  print({.bench = "start", .config = "mld --user stat=median", .value = quantile(times, 0.5), .unit = "ms"});
  print({.bench = "start", .config = "mld --user stat=p95", .value = quantile(times, 0.95), .unit = "ms"});
  return 0;
}

}  // namespace ml::bench
