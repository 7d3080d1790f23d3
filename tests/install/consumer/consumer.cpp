// A small application: a lazy expression and its gradient, computed by the engine of the installed copy.
#include <ml/ml.h>

#include <cstdlib>
#include <iostream>

int main() {
  const ml::Tensor x = ml::ones({2, 3});
  const ml::Tensor y = (x + 1) * 2;
  if (y.sum().item<double>() != 24.0) {
    std::cerr << "expected a sum of 24, got " << y << "\n";
    return EXIT_FAILURE;
  }
  try {
    (void)ml::matmul(x, x);
  } catch (const ml::Error& error) {
    std::cout << "refused as it should be: " << error.what() << "\n";
    return EXIT_SUCCESS;
  }
  std::cerr << "[2, 3] x [2, 3] was multiplied\n";
  return EXIT_FAILURE;
}
