// PyTorch as a peer: a Python process that does the same work when it is asked to.
#pragma once

#include <memory>
#include <string>

#include "tools/mlbench/peer_process.h"

namespace ml::bench {

class TorchPeer {
 public:
  // `work` is "eval" or "train" (peers/torch_peer.py). Without PyTorch there is no peer, and stderr says so.
  TorchPeer(const std::string& work, int threads);

  bool there() const { return !name_.empty(); }
  const std::string& name() const { return name_; }  // "PyTorch 1.13.0"
  // Seconds that so many repetitions took. Throws io when the process is gone.
  double run(int repetitions);

 private:
  std::unique_ptr<PeerProcess> process_;
  std::string name_;
};

}  // namespace ml::bench
