// Trains the demo's network for a few steps, exports it as ONNX and answers some images with it: trained.py compares.
//
//   onnx_trained DATA OUT     writes OUT/{model.onnx,images.npy,probabilities.npy,direct.npy}
#include <iostream>

#include "ml/ml.h"

int main(int argc, char** argv) {
  namespace nn = ml::nn;
  if (argc != 3) {
    std::cerr << "usage: onnx_trained DATA OUT\n";
    return 2;
  }
  const std::string data = argv[1], out = argv[2];
  try {
    const auto images =
        std::make_shared<ml::data::IdxDataset>(data + "/train-images-idx3-ubyte", data + "/train-labels-idx1-ubyte",
                                               ml::data::IdxOptions{.mean = 0.2860, .deviation = 0.3530});
    ml::data::DataLoader loader(images, {.batch_size = 64, .shuffle = true, .seed = 5, .drop_last = true});
    ml::manual_seed(5);
    nn::Sequential model(nn::Conv2d(1, 16, 3, {.padding = 1}), nn::BatchNorm2d(16), nn::ReLU(), nn::MaxPool2d(2),
                         nn::Conv2d(16, 32, 3, {.padding = 1}), nn::BatchNorm2d(32), nn::ReLU(), nn::MaxPool2d(2),
                         nn::Flatten(), nn::Linear(1568, 128), nn::ReLU(), nn::Linear(128, 10), nn::Softmax());
    ml::train::Trainer trainer(model, ml::optim::SGD(model.parameters(), {.learning_rate = 0.05, .momentum = 0.9}));
    trainer.fit(loader, {.progress = ml::train::Progress::none,
                         .on_step = [](const ml::train::StepReport& report) { return report.step < 60; }});

    const ml::Model traced = ml::Model::trace(model, {{"image", ml::DType::f32, {-1, 1, 28, 28}}}, {"probabilities"});
    ml::save_onnx(traced, out + "/model.onnx");
    ml::data::Batch batch;
    ml::data::DataLoader few(images, {.batch_size = 100});
    few.next(batch);
    ml::data::save_npy(out + "/images.npy", batch[0]);
    // Through the file: what it says is what is compared.
    ml::data::save_npy(out + "/probabilities.npy", ml::load_onnx(out + "/model.onnx").run({batch[0]})[0]);
    const ml::Tensor direct = traced.run({batch[0]})[0];
    ml::data::save_npy(out + "/direct.npy", direct);
    return 0;
  } catch (const ml::Error& error) {
    std::cerr << "onnx_trained: " << error.what() << "\n";
    return 1;
  }
}
