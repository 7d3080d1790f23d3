// What a value is of another one, where that is a polynomial: models spell the same function in many ways.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "engine/graph/build.h"

namespace ml::passes {

using Polynomial = std::array<double, 4>;  // the coefficients of 1, x, x^2 and x^3

// `value` as a polynomial of `x`, both of one graph, when additions, products and numbers make it one of degree 3 or
// less.
std::optional<Polynomial> polynomial_of(Var value, Var x);
// Whether the coefficients are the same numbers as a dtype may have rounded them.
bool same_polynomial(const Polynomial& a, const Polynomial& b, DType dtype);
inline bool is_polynomial(Var value, Var x, const Polynomial& wanted) {
  const std::optional<Polynomial> found = polynomial_of(value, x);
  return found && same_polynomial(*found, wanted, value.dtype());
}

// A product of numbers and other values, through products, negations and divisions by numbers.
struct Product {
  double scale = 1;
  std::vector<Var> factors;
};
// Of `value`; the `whole` values aren't taken apart.
Product product_of(Var value, std::initializer_list<Var> whole = {});

}  // namespace ml::passes
