// Trains a small CNN on Fashion-MNIST and saves it as a model. The test images are not read.
#include <cstdint>
#include <iostream>

#include "fashion.h"
#include "ml/ml.h"

namespace {

int train(int argc, char** argv) {
  namespace nn = ml::nn;
  const auto options =
      demo::parse_options(argc, argv, {{"--data", ""}, {"--output", ""}, {"--seed", "1"}, {"--epochs", "5"}},
                          "--data FOLDER --output FILE [--seed 1] [--epochs 5]");
  const auto seed = static_cast<std::uint64_t>(demo::parse_count("--seed", options.at("--seed")));
  const std::int64_t epochs = demo::parse_count("--epochs", options.at("--epochs"));
  demo::want_writable(options.at("--output"));

  ml::data::DataLoader loader(demo::open_fashion(options.at("--data"), "train"),
                              {.batch_size = 64, .shuffle = true, .seed = seed, .drop_last = true});
  std::cerr << "training on " << loader.size() << " images, " << loader.batches() << " steps an epoch\n";

  ml::manual_seed(seed);
  nn::Sequential model(nn::Conv2d(1, 16, 3, {.padding = 1}), nn::BatchNorm2d(16), nn::ReLU(), nn::MaxPool2d(2),
                       nn::Conv2d(16, 32, 3, {.padding = 1}), nn::BatchNorm2d(32), nn::ReLU(), nn::MaxPool2d(2),
                       nn::Flatten(), nn::Linear(1568, 128), nn::ReLU(), nn::Linear(128, 10), nn::Softmax());
  ml::train::Trainer trainer(model, ml::optim::SGD(model.parameters(), {.momentum = 0.9, .weight_decay = 1e-4}),
                             {.seed = seed});
  trainer.fit(loader, {.epochs = epochs, .schedule = ml::optim::cosine(0.05, epochs * loader.batches())});

  ml::Model::trace(model, {{"image", ml::DType::f32, {-1, 1, 28, 28}}}, {"probabilities"}).save(options.at("--output"));
  std::cerr << "saved " << options.at("--output") << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return demo::run("demo_train", train, argc, argv); }
