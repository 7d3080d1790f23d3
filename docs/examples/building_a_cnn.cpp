// Building a CNN model.
#include <iostream>

#include "ml/ml.h"

int main() try {
  namespace nn = ml::nn;
  ml::manual_seed(1);

  nn::Sequential model(nn::Conv2d(3, 64, 3, {.padding = 1}),  // [N, 3, 224, 224] -> [N, 64, 224, 224]
                       nn::BatchNorm2d(64), nn::ReLU(),
                       nn::MaxPool2d(2),                // -> [N, 64, 112, 112]
                       nn::Linear(64 * 112 * 112, 10),  // flattens what it is given
                       nn::Softmax());

  std::cout << model.parameter_count() << " parameters\n";
  for (const nn::Parameter& parameter : model.parameters())
    std::cout << "  " << parameter.name() << " " << parameter.value().shape().str() << "\n";

  ml::Generator generator(2);
  const ml::Tensor images = ml::randn({2, 3, 224, 224}, generator);
  model.eval();
  const ml::Tensor probabilities = model(images);
  std::cout << "probabilities: " << probabilities << "\n"
            << "each row sums to " << ml::sum(probabilities, {1}) << "\n";
  return 0;
} catch (const ml::Error& error) {
  std::cerr << "building_a_cnn: " << error.what() << "\n";
  return 1;
}
