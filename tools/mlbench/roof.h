// What the machine can do at the most: the roofs that figures are held against.
#pragma once

#include <span>

namespace ml::bench {

struct Roof {
  double flops = 0;  // per second, f32
  double bytes = 0;  // per second, read from memory
};

// The best of several short runs with a thread on each of these CPUs: fused multiply-adds on registers alone, and a sum
// over more memory than caches hold.
Roof measure_roof(std::span<const int> cpus);

}  // namespace ml::bench
