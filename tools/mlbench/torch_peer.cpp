#include "tools/mlbench/torch_peer.h"

#include <cstdlib>

#include "tools/mlbench/installed.h"

namespace ml::bench {

TorchPeer::TorchPeer(const std::string& work, int threads)
    // Debian's Python, which has Debian's python3-torch.
    : process_(std::make_unique<PeerProcess>(std::vector<std::string>{
          "/usr/bin/python3", installed_file({"../share/mlaccel/torch_peer.py"}), work, std::to_string(threads)})) {
  const std::string line = process_->read_line().value_or("");
  if (line.starts_with("ready "))
    name_ = "PyTorch " + line.substr(6);
  else
    std::fprintf(stderr, "mlbench: no PyTorch to compare with (Debian: python3-torch)\n");
}

double TorchPeer::run(int repetitions) {
  return std::strtod(process_->ask(std::to_string(repetitions)).c_str(), nullptr);
}

}  // namespace ml::bench
