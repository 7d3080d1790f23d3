// The network of a job file: its layers in a row. What goes wrong in one of them is told with its line.
#pragma once

#include "daemon/job/job_file.h"

namespace ml::job {

class Network : public nn::Sequential {
 public:
  // Initialised from the job's seed: the same file, the same weights.
  explicit Network(const JobFile& job);

  Tensor forward(const Tensor& x) override;
  Tensor logits(const Tensor& x) override;

 private:
  std::vector<std::string> places_;  // of each layer: "fashion.toml:31, layer 3 (linear)"
};

}  // namespace ml::job
