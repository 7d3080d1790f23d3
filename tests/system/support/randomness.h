// Seeds and counts of random tests, from the environment; a seed that was used is printed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace ml::test {

// ML_TEST_SEED, or one that changes from run to run.
std::uint64_t seed();
// ML_TEST_ROUNDS, or the count for continuous integration.
int rounds(int in_ci);

// The value that `percent` of all values are at most. At least one value.
template <class T>
T percentile(std::vector<T> values, double percent) {
  std::ranges::sort(values);
  const double rank = std::ceil(percent / 100 * static_cast<double>(values.size()));
  return values[static_cast<std::size_t>(std::clamp(rank, 1.0, static_cast<double>(values.size()))) - 1];
}
template <class T>
T median(const std::vector<T>& values) {
  return percentile(values, 50);
}

}  // namespace ml::test
