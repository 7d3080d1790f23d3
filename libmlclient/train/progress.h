// What training says while it runs, on stderr.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "ml/train.h"

namespace ml::train {

class ProgressReport {
 public:
  ProgressReport(Progress progress, std::int64_t epochs);

  // After a step: redraws the bar, a few times a second.
  void step(std::int64_t epoch, std::int64_t batch, std::int64_t batches, const Metrics& so_far, bool accuracy);
  void epoch(const EpochReport& report, bool accuracy);

 private:
  using Clock = std::chrono::steady_clock;
  bool bar_ = false, lines_ = false;
  std::int64_t epochs_;
  Clock::time_point drawn_{};
};

}  // namespace ml::train
