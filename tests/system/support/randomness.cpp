#include "tests/system/support/randomness.h"

#include <cstdlib>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>

namespace ml::test {
namespace {

// A whole number from the environment; a typing mistake must not quietly become another test.
bool from_environment(const char* name, std::uint64_t& value) {
  const char* const text = std::getenv(name);
  if (text == nullptr) return false;
  char* end = nullptr;
  value = std::strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0')
    throw std::runtime_error(std::string(name) + " is '" + text + "', not a whole number");
  return true;
}

}  // namespace

std::uint64_t seed() {
  static const std::uint64_t value = [] {
    std::uint64_t chosen = 0;
    if (!from_environment("ML_TEST_SEED", chosen)) chosen = std::random_device()();
    std::cerr << "ML_TEST_SEED=" << chosen << "\n";
    return chosen;
  }();
  return value;
}

int rounds(int in_ci) {
  std::uint64_t count = 0;
  if (!from_environment("ML_TEST_ROUNDS", count)) return in_ci;
  std::cerr << "ML_TEST_ROUNDS=" << count << "\n";
  return static_cast<int>(count);
}

}  // namespace ml::test
