// How far a result may be from the oracle's, and why.
#pragma once

#include <string>
#include <string_view>

#include "engine/graph/op.h"
#include "engine/runtime/evaluate.h"

namespace ml::test {

// |got - expected| <= relative * eps * |expected| + of_largest * eps * L + of_sum * compute eps * S, where eps is that
// of the result's dtype, L the largest absolute value that is expected or went in, and S the sum of the absolute values
// of everything that was added up. All zero: equal, but for the sign of a zero; a NaN is a NaN.
struct Tolerance {
  double relative = 0;
  double of_largest = 0;
  double of_sum = 0;
};

// Of an op's floating results; everything else is exact. `terms` is about how many numbers go into one of them.
Tolerance tolerance_of(const Op& op, DType dtype, double terms);

// Empty, or what is wrong. `sums`: S for each element, null when of_sum is 0.
std::string difference(const HostTensor& got, const HostTensor& expected, const Tolerance& tolerance, double largest,
                       const HostTensor* sums);
// Of the floating values, leaving out those that no sum of others can be compared with: infinite and huge ones.
double largest_magnitude(const HostTensor& tensor);

}  // namespace ml::test
