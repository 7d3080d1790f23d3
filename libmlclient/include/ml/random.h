// Random tensors from counter-based generators (Philox 4x32-10, Salmon et al. 2011).
//
// A generator is a seed and a position. Equal seeds give equal numbers on every device and in every run, and a run that
// stores the state resumes where it was.
#pragma once

#include <cstdint>

#include "ml/tensor.h"

namespace ml {

struct GeneratorState {
  std::uint64_t seed = 0;
  std::uint64_t counter = 0;  // of the next block of four words
  friend bool operator==(const GeneratorState&, const GeneratorState&) = default;
};

// Each draw moves the position on. Not for several threads at once.
class ML_API Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) : state_{seed, 0} {}

  GeneratorState state() const { return state_; }
  void set_state(GeneratorState state) { state_ = state; }

 private:
  GeneratorState state_;
};

// Uniform in [low, high), floating dtypes.
ML_API Tensor rand(const Shape& shape, Generator& generator, DType dtype = DType::f32);
ML_API Tensor uniform(const Shape& shape, double low, double high, Generator& generator, DType dtype = DType::f32);
// Normal with mean 0 and standard deviation 1.
ML_API Tensor randn(const Shape& shape, Generator& generator, DType dtype = DType::f32);
// Zero with probability p, otherwise x / (1 - p).
ML_API Tensor dropout(const Tensor& x, double p, Generator& generator);

// What modules draw their initial weights and dropout masks from when they are given no generator: one per thread.
ML_API Generator& default_generator();
ML_API void manual_seed(std::uint64_t seed);

}  // namespace ml
