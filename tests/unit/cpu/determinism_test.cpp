// A step of a small network (convolution, batch norm, pooling, product, loss, all gradients) gives the same bits on
// every run and on any number of threads.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "engine/graph/autodiff.h"
#include "engine/graph/build_nn.h"
#include "engine/runtime/evaluate.h"
#include "tests/unit/runtime/host_tensors.h"

namespace ml {
namespace {

struct Step {
  Graph graph;
  std::vector<HostTensor> inputs;
};

Step make_step() {
  Step step;
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.1f);
  std::vector<Var> parameters;
  const auto feed = [&](const char* name, const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (float& value : values) value = normal(random);
    step.inputs.push_back(test::floats(shape, values));
    return input(step.graph, name, DType::f32, shape);
  };
  const auto parameter = [&](const char* name, const Shape& shape) {
    parameters.push_back(feed(name, shape));
    return parameters.back();
  };
  Windows same = Windows::unit(2), halves = Windows::unit(2);
  same.pad_low = same.pad_high = {1, 1};
  halves.strides = {2, 2};
  const Var x = feed("x", {33, 3, 20, 20});
  Var h = convolution(x, parameter("w1", {24, 3, 3, 3}), parameter("b1", {24}), same);
  h = relu(batch_norm(h, parameter("scale", {24}), parameter("shift", {24})).y);
  h = max_pool(h, {2, 2}, halves);
  h = convolution(h, parameter("w2", {40, 24, 3, 3}), Var{}, same);
  h = average_pool(h, {2, 2}, halves);
  h = reshape(h, {33, 1000});
  h = matmul(h, parameter("w3", {1000, 200}));
  const Var labels = argmax(h, 1);
  const Var loss = reduce_mean(cross_entropy(h, labels).loss);
  output("loss", loss);
  const std::vector<Var> all = gradients(loss, parameters);
  for (std::size_t i = 0; i < all.size(); ++i) output("g" + std::to_string(i), all[i]);
  return step;
}

TEST(Determinism, SameBitsOnEveryRunAndAnyNumberOfThreads) {
  const Step step = make_step();
  const auto first = evaluate(step.graph, *create_cpu_device(1), step.inputs);
  for (const int threads : {1, 2, 2, 3, 5}) {
    const auto again = evaluate(step.graph, *create_cpu_device(threads), step.inputs);
    ASSERT_EQ(again.size(), first.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      EXPECT_EQ(again[i].bytes, first[i].bytes) << "output " << i << " on " << threads << " threads";
    }
  }
}

TEST(Determinism, TheFingerprintSaysWhatTheBitsDependOn) {
  const std::string print = create_cpu_device(2)->fingerprint();
  EXPECT_NE(print.find("isa="), std::string::npos) << print;
  EXPECT_NE(print.find("dnnl="), std::string::npos) << print;
  EXPECT_NE(print.find("threads=2"), std::string::npos) << print;
}

}  // namespace
}  // namespace ml
