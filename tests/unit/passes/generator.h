// Random graphs full of what passes look for.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "engine/graph/build_nn.h"

namespace ml::test {

// Writes a graph over three kinds of values of one batch: rows [n, 4], tokens [n, 3, 4] and images [n, 4, 5, 5].
// Functions, norms, softmaxes and attention are written in one of the ways exporters have, with their batch norms,
// biases, activations and residuals around. Inputs are to lie in [-2, 2].
class Generator {
 public:
  // With `symbolic`, n is unknown; otherwise it is kBatch.
  Generator(std::uint64_t seed, DType dtype, bool symbolic);
  Graph run();

  static constexpr std::int64_t kBatch = 3;

 private:
  int pick(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }
  Var any(const std::vector<Var>& values) {
    return values[static_cast<std::size_t>(pick(static_cast<int>(values.size())))];
  }
  Var row() { return any(rows_); }
  Var tokens() { return any(tokens_); }
  Var image() { return any(images_); }
  Var number(double value);
  Var random_constant(const Shape& shape, double low, double high);
  Var input(const char* name, const Shape& without_batch);

  Var next_row();
  Var next_tokens();
  Var next_image();
  Var arithmetic();
  Var moved(Var x);
  Var activation(Var x);
  Var normalized(Var x);
  Var softmaxed(Var x, std::int64_t axis, bool or_logarithm);
  Var linear(Var x, std::int64_t columns);
  Var attention(Var x);
  Var convolved(Var x);

  std::mt19937_64 random_;
  DType dtype_;
  std::int64_t batch_;
  Graph graph_;
  std::vector<Var> rows_, tokens_, images_;
};

}  // namespace ml::test
