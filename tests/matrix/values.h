// Random operands. The seed comes from ML_TEST_SEED, or is 1; every failure names it.
#pragma once

#include <cstdint>
#include <random>
#include <string_view>

#include "engine/runtime/evaluate.h"

namespace ml::test {

enum class Fill {
  any,         // floats in [-3, 3]; integers small and from their whole range, mixed
  exact,       // multiples of 1/8 in [-2, 2], integers in [-8, 8]: sums and products are exact in every order
  positive,    // floats in [1/8, 3], integers in [1, 100]
  small,       // floats in [-1/4, 1/4]: recurrences that forget
  mask,        // half of the floats -inf, the others in [-3, 3]
  few,         // whole numbers in [0, 4): many ties
  special,     // infinities, NaN, zeros of both signs, the ends of the range, and some that are harmless
  shift,       // amounts in [-2, bits + 2)
  index,       // in [-limit, limit)
  wild_index,  // in [-2 limit, 2 limit): half of them out of range
  below,       // in [0, limit)
};

std::uint64_t test_seed();
// A generator of its own for each name, so that a test that runs alone sees what it sees among the others.
std::mt19937_64 random_for(std::string_view name);
HostTensor random_tensor(DType dtype, const Shape& shape, Fill values, std::int64_t limit, std::mt19937_64& random);

// Dense row-major bytes in another layout, and back.
std::vector<std::byte> to_layout(const HostTensor& tensor, const Layout& layout);
HostTensor from_layout(const TensorType& type, std::span<const std::byte> bytes, const Layout& layout);

}  // namespace ml::test
