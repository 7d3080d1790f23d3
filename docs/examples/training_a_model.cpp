// Training a model: Trainer, SGD, cross-entropy, loaders for training and validation.
#include <cmath>
#include <iostream>

#include "ml/ml.h"

namespace {

// Two interleaved spirals: which one does a point belong to?
std::shared_ptr<ml::data::TensorDataset> spirals(std::int64_t points, std::uint64_t seed) {
  ml::Generator generator(seed);
  const ml::Tensor label = ml::arange(points) % 2;
  const ml::Tensor radius = ml::rand({points}, generator);
  const ml::Tensor angle = radius * 6 + label * M_PI;
  const ml::Tensor noise = ml::randn({points, 2}, generator) * 0.02;
  const ml::Tensor place = ml::stack({radius * ml::cos(angle), radius * ml::sin(angle)}, 1) + noise;
  return std::make_shared<ml::data::TensorDataset>(std::vector<ml::Tensor>{place, label});
}

}  // namespace

int main() try {
  namespace nn = ml::nn;
  ml::manual_seed(7);

  nn::Sequential model(nn::Linear(2, 32), nn::ReLU(), nn::Linear(32, 32), nn::ReLU(), nn::Linear(32, 2), nn::Softmax());

  ml::data::DataLoader train(spirals(2000, 1), {.batch_size = 50, .shuffle = true, .seed = 3});
  ml::data::DataLoader validation(spirals(500, 2), {.batch_size = 100});

  // The model ends in Softmax: cross-entropy gets the logits.
  ml::train::Trainer trainer(model, ml::optim::SGD(model.parameters(), {.learning_rate = 0.1, .momentum = 0.9}),
                             {.loss = ml::train::cross_entropy()});
  const ml::train::EpochReport report = trainer.fit(train, {.epochs = 20, .validation = &validation});

  std::cout << "validation accuracy after " << report.epoch << " epochs: " << report.validation.accuracy << "\n";
  return report.validation.accuracy > 0.9 ? 0 : 1;
} catch (const ml::Error& error) {
  std::cerr << "training_a_model: " << error.what() << "\n";
  return 1;
}
