// Layers and optimizers against what PyTorch computes; modules.
#include "ml/nn.h"

#include <gtest/gtest.h>

#include "ml/grad.h"
#include "ml/optim.h"
#include "tests/unit/client/expected.h"

namespace ml {
namespace {

// Loads the parameters that PyTorch had, and compares output, gradients and buffers.
void compare_with_pytorch(const std::string& name, nn::Module& module) {
  std::vector<nn::NamedTensor> state;
  for (const auto& [key, tensor] : expected()) {
    const std::string prefix = name + "/state/";
    if (key.starts_with(prefix)) state.push_back({key.substr(prefix.size()), tensor});
  }
  module.load_state_dict(state);
  const Tensor x = expected().at(name + "/x");
  const Tensor y = module(x);
  const Tensor loss = sum(square(y)) / 2;
  std::vector<Tensor> with_respect_to;
  std::vector<std::string> names;
  if (expected().contains(name + "/dx")) {
    with_respect_to.push_back(x);
    names.push_back(name + "/dx");
  }
  for (const nn::Parameter& parameter : module.parameters()) {
    with_respect_to.push_back(parameter.value());
    names.push_back(name + "/grad/" + parameter.name());
  }
  const std::vector<Tensor> gradients = grad(loss, with_respect_to);
  expect_close(y, expected().at(name + "/y"), name + "/y");
  for (std::size_t i = 0; i < names.size(); ++i) expect_close(gradients[i], expected().at(names[i]), names[i], 1e-4);
  for (const nn::Parameter& buffer : module.buffers())
    expect_close(buffer.value(), expected().at(name + "/after/" + buffer.name()), name + "/" + buffer.name());
}

TEST(Layers, LinearIsPyTorchs) {
  nn::Linear layer(5, 3);
  compare_with_pytorch("linear", layer);
}
TEST(Layers, Conv2dIsPyTorchs) {
  nn::Conv2d layer(2, 4, 3, {.stride = 2, .padding = 1, .groups = 2});
  compare_with_pytorch("conv", layer);
}
TEST(Layers, BatchNorm2dIsPyTorchs) {
  nn::BatchNorm2d layer(3);
  compare_with_pytorch("batch_norm", layer);
}
TEST(Layers, LayerNormIsPyTorchs) {
  nn::LayerNorm layer({3, 4});
  compare_with_pytorch("layer_norm", layer);
}
TEST(Layers, MaxPool2dIsPyTorchs) {
  nn::MaxPool2d layer(3, {.stride = 2, .padding = 1});
  compare_with_pytorch("max_pool", layer);
}
TEST(Layers, AvgPool2dIsPyTorchs) {
  nn::AvgPool2d layer(3, {.stride = 2, .padding = 1});
  compare_with_pytorch("avg_pool", layer);
}
TEST(Layers, GeluIsPyTorchs) {
  nn::GELU layer;
  compare_with_pytorch("gelu", layer);
}
TEST(Layers, SoftmaxIsPyTorchs) {
  nn::Softmax layer;
  compare_with_pytorch("softmax", layer);
}
TEST(Layers, EmbeddingIsPyTorchs) {
  nn::Embedding layer(6, 3);
  compare_with_pytorch("embedding", layer);
}

TEST(Layers, CrossEntropyIsPyTorchs) {
  const Tensor logits = expected().at("cross_entropy/logits");
  const Tensor loss = cross_entropy(logits, expected().at("cross_entropy/targets"));
  const Tensor gradient = grad(loss, logits);
  expect_close(loss, expected().at("cross_entropy/loss"), "loss");
  expect_close(gradient, expected().at("cross_entropy/grad"), "gradient");
}

TEST(Layers, DropoutZeroesAndScalesWhileTraining) {
  manual_seed(4);
  nn::Dropout layer(0.5);
  const std::vector<float> y = layer(ones({1000})).to_vector<float>();
  const auto zeros = std::count(y.begin(), y.end(), 0.0F);
  EXPECT_GT(zeros, 400);
  EXPECT_LT(zeros, 600);
  EXPECT_EQ(std::count(y.begin(), y.end(), 2.0F), 1000 - zeros);
  layer.eval();
  EXPECT_EQ(layer(ones({3})).to_vector<float>(), (std::vector<float>{1, 1, 1}));
}

TEST(Layers, LinearFlattensTrailingAxesThatMultiplyToItsInput) {
  nn::Linear layer(24, 2);
  EXPECT_EQ(layer(ones({5, 2, 3, 4})).shape(), (Shape{5, 2}));
  EXPECT_EQ(layer(ones({5, 6, 24})).shape(), (Shape{5, 6, 2}));
  EXPECT_EQ(layer(ones({5, 1, 4, 6})).shape(), (Shape{5, 2})) << "a grey picture";
  EXPECT_EQ(layer(ones({1, 4, 6})).shape(), (Shape{1, 2}));
  EXPECT_NE(message_of([&] { layer(ones({5, 7})); }).find("x is [5, 7], but in_features is 24"), std::string::npos);
}

// A module of one parameter, to follow what an optimizer does to it.
struct Point : nn::Module {
  Tensor& place = register_parameter("place", expected().at("optimizer/start"));
  Tensor forward(const Tensor& x) override { return x; }
};

template <class Make>
void follow(const std::string& name, Make make) {
  Point point;
  auto optimizer = make(point.parameters());
  const Tensor path = expected().at("optimizer/" + name);
  for (std::int64_t step = 0; step < path.size(0); ++step) {
    const Tensor loss =
        sum(expected().at("optimizer/curvature") * square(point.place - expected().at("optimizer/optimum")));
    optimizer.step(nn::grad(loss, point.parameters()), {loss});
    expect_close(point.place, path[step], name + " step " + std::to_string(step), 1e-4);
  }
  EXPECT_EQ(optimizer.steps(), path.size(0));
}

TEST(Optimizers, SgdFollowsPyTorch) {
  follow("sgd", [](auto p) { return optim::SGD(p, {.learning_rate = 0.1}); });
}
TEST(Optimizers, SgdWithMomentumFollowsPyTorch) {
  follow("sgd_momentum",
         [](auto p) { return optim::SGD(p, {.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.01}); });
}
TEST(Optimizers, NesterovFollowsPyTorch) {
  follow("sgd_nesterov",
         [](auto p) { return optim::SGD(p, {.learning_rate = 0.1, .momentum = 0.9, .nesterov = true}); });
}
TEST(Optimizers, AdamFollowsPyTorch) {
  follow("adam", [](auto p) { return optim::Adam(p, {.learning_rate = 0.1, .weight_decay = 0.01}); });
}
TEST(Optimizers, AdamWFollowsPyTorch) {
  follow("adamw", [](auto p) { return optim::AdamW(p, {.learning_rate = 0.1, .weight_decay = 0.01}); });
}

TEST(Optimizers, StateComesBack) {
  Point a, b;
  optim::Adam first(a.parameters()), second(b.parameters());
  const auto step = [](Point& point, optim::Adam& optimizer) {
    optimizer.step(nn::grad(sum(square(point.place)), point.parameters()));
  };
  for (int i = 0; i < 3; ++i) step(a, first);
  b.load_state_dict(a.state_dict());
  second.load_state_dict(first.state_dict());
  second.set_steps(first.steps());
  step(a, first);
  step(b, second);
  EXPECT_EQ(a.place.to_vector<float>(), b.place.to_vector<float>());
}

TEST(Schedules, FollowTheirFormulas) {
  EXPECT_EQ(optim::constant(0.5)(100), 0.5);
  EXPECT_DOUBLE_EQ(optim::step_decay(1, 10, 0.5)(25), 0.25);
  EXPECT_DOUBLE_EQ(optim::cosine(1, 100)(50), 0.5);
  EXPECT_DOUBLE_EQ(optim::cosine(1, 100, 0.1)(200), 0.1);
  EXPECT_DOUBLE_EQ(optim::warmup(10, optim::constant(1))(4), 0.5);
}

TEST(Modules, NameTheirParametersAndBuffers) {
  nn::Sequential net(nn::Conv2d(1, 2, 3), nn::BatchNorm2d(2), nn::ReLU(), nn::Linear(8, 2, false));
  std::vector<std::string> names;
  for (const nn::NamedTensor& entry : net.state_dict()) names.push_back(entry.name);
  EXPECT_EQ(names, (std::vector<std::string>{"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "1.running_mean",
                                             "1.running_var", "1.num_batches_tracked"}));
  EXPECT_EQ(net.parameter_count(), 18 + 2 + 4 + 16);
}

TEST(Modules, InitialiseAsPyTorchDoes) {
  manual_seed(9);
  nn::Linear layer(100, 400);
  const Tensor weight = layer.weight;
  EXPECT_LE(max(abs(weight)).item<double>(), 0.1);
  EXPECT_NEAR(var(weight).item<double>(), 0.01 / 3, 2e-4);
  EXPECT_LE(max(abs(layer.bias)).item<double>(), 0.1);
}

TEST(Modules, SaveAndLoad) {
  const std::string path = testing::TempDir() + "modules_save_and_load.safetensors";
  nn::Sequential a(nn::Linear(3, 4), nn::BatchNorm2d(2)), b(nn::Linear(3, 4), nn::BatchNorm2d(2));
  a.save(path);
  b.load(path);
  const auto x = a.state_dict(), y = b.state_dict();
  for (std::size_t i = 0; i < x.size(); ++i)
    EXPECT_EQ(x[i].tensor.to_vector<double>(), y[i].tensor.to_vector<double>()) << x[i].name;
}

TEST(Modules, LoadingSaysEverythingThatDoesNotFit) {
  nn::Linear layer(3, 4);
  const std::vector<float> before = layer.weight.to_vector<float>();
  const std::vector<nn::NamedTensor> state{{"weight", zeros({3, 4})}, {"wait", zeros({1})}};
  EXPECT_EQ(message_of([&] { layer.load_state_dict(state); }),
            "load_state_dict: 'weight' is f32[3, 4], wanted f32[4, 3]; 'bias' is missing; 'wait' is unknown (it must "
            "come from a module of the same structure)");
  EXPECT_EQ(layer.weight.to_vector<float>(), before);
}

TEST(Modules, ErrorsNameTheSubmodule) {
  nn::Sequential net(nn::ReLU(), nn::Conv2d(3, 4, 3));
  EXPECT_NE(message_of([&] {
              net(ones({2, 3}));
            }).find("module 1: Conv2d: wants [N, C, H, W], got [2, 3]"),
            std::string::npos);
}

}  // namespace
}  // namespace ml
