#include "tools/mlbench/ask_models.h"

#include <optional>

#include "ml/error.h"
#include "tools/mlbench/bench.h"
#include "tools/mlbench/installed.h"
#include "tools/mlbench/peer_process.h"

namespace ml::bench {

std::string ask_models(std::vector<std::string> arguments, std::span<const int> cpus) {
  arguments.insert(arguments.begin(), installed_file({"mlbench-models", "../libexec/mlaccel/mlbench-models"}));
  const std::string what = arguments[1];
  const std::vector<int> before = allowed_cpus();
  if (!cpus.empty()) pin(cpus);
  PeerProcess process(std::move(arguments));
  pin(before);
  std::string text;
  while (const std::optional<std::string> line = process.read_line()) text += *line + "\n";
  if (process.exit_status() != 0) throw Error(Code::io, "mlbench-models " + what + " failed");
  return text;
}

}  // namespace ml::bench
