// Basic tensor operations.
#include <iostream>

#include "ml/ml.h"

int main() try {
  ml::Generator generator(42);

  // Create tensors.
  const ml::Tensor x = ml::ones({2, 3});
  const ml::Tensor y = ml::randn({2, 3}, generator);

  // Operations are recorded when they are called, and computed when somebody looks.
  const ml::Tensor z = x + y;
  const ml::Tensor w = ml::matmul(x, y.t());  // [2, 3] x [3, 2]

  std::cout << "x = " << x << "\n"
            << "x + y = " << z << "\n"
            << "x y^T = " << w << "\n"
            << "mean of x + y: " << z.mean().item<float>() << "\n";

  // Gradients are tensors like any other.
  const ml::Tensor loss = ml::sum(ml::square(x * 3));
  std::cout << "d sum((3x)^2) / dx = " << ml::grad(loss, x) << "\n";

  // What does not fit is said when it is called.
  try {
    ml::matmul(x, y);
  } catch (const ml::Error& error) {
    std::cout << "as expected: " << error.what() << "\n";
  }
  return 0;
} catch (const ml::Error& error) {
  std::cerr << "basic_tensors: " << error.what() << "\n";
  return 1;
}
