// PyTorch as a peer: a Python process that does the same work when it is asked to.
#pragma once

#include <cstdio>
#include <string>

#include <sys/types.h>

namespace ml::bench {

class TorchPeer {
 public:
  // `work` is "eval" or "train" (peers/torch_peer.py). Without PyTorch there is no peer, and stderr says so.
  TorchPeer(const std::string& work, int threads);
  ~TorchPeer();
  TorchPeer(const TorchPeer&) = delete;
  TorchPeer& operator=(const TorchPeer&) = delete;

  bool there() const { return !name_.empty(); }
  const std::string& name() const { return name_; }  // "PyTorch 1.13.0"
  // Seconds that so many repetitions took. Throws io when the process is gone.
  double run(int repetitions);

 private:
  std::string read_line();

  pid_t process_ = -1;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
  std::string name_;
};

}  // namespace ml::bench
