// The network of `make demo`.
#pragma once

#include "ml/nn.h"
#include "ml/random.h"

namespace ml::bench {

inline nn::Sequential demo_model() {
  manual_seed(1);
  return nn::Sequential(nn::Conv2d(1, 16, 3, {.padding = 1}), nn::BatchNorm2d(16), nn::ReLU(), nn::MaxPool2d(2),
                        nn::Conv2d(16, 32, 3, {.padding = 1}), nn::BatchNorm2d(32), nn::ReLU(), nn::MaxPool2d(2),
                        nn::Flatten(), nn::Linear(1568, 128), nn::ReLU(), nn::Linear(128, 10), nn::Softmax());
}

}  // namespace ml::bench
