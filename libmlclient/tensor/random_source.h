// Where random operations get their state from: normally the generator's numbers, as a small input; while a training
// step is traced, a u64[2] (key, counter) that flows through the step.
#pragma once

#include "ml/random.h"

namespace ml::client {

// While one lives, this thread draws from `state` whatever generator it names.
class TracedRandom {
 public:
  explicit TracedRandom(Tensor state);
  ~TracedRandom();
  TracedRandom(const TracedRandom&) = delete;
  TracedRandom& operator=(const TracedRandom&) = delete;

  // Behind everything drawn so far.
  Tensor state;
  bool used = false;

 private:
  TracedRandom* outer_;
};

}  // namespace ml::client
