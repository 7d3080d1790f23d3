// A step of a small network (convolution, batch norm, pooling, product, loss, all gradients), attention and recurrent
// layers give the same bits on every run and on any number of threads.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "engine/graph/autodiff.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/build_recurrent.h"
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

// Blocks of queries, runs of keys, parts of a batch, and a hidden layer that is cut.
Step make_sequences() {
  Step step;
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0, 0.1f);
  const auto feed = [&](const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (float& value : values) value = normal(random);
    const std::string name = "x" + std::to_string(step.inputs.size());
    step.inputs.push_back(test::floats(shape, values));
    return input(step.graph, name, DType::f32, shape);
  };
  AttentionAttributes causal;
  causal.scale = 0.125;
  causal.causal = true;
  output("prefill", attention(feed({2, 4, 150, 64}), feed({2, 2, 150, 64}), feed({2, 2, 150, 64}), {}, {}, causal).y);
  output("decode", attention(feed({1, 4, 1, 64}), feed({1, 2, 1100, 64}), feed({1, 2, 1100, 64}), {}, {}, causal).y);
  output("lstm", lstm(feed({5, 1, 1, 1024}), feed({1, 1024, 256}), feed({1, 1, 256}), feed({1, 1, 256})).y);
  output("gru", gru(feed({5, 40, 2, 288}), feed({2, 288, 96}), feed({2, 40, 96})).y);
  return step;
}

class Determinism : public testing::TestWithParam<Step (*)()> {};

TEST_P(Determinism, SameBitsOnEveryRunAndAnyNumberOfThreads) {
  const Step step = GetParam()();
  const auto first = evaluate(step.graph, *create_cpu_device(1), step.inputs);
  for (const int threads : {1, 2, 2, 3, 5}) {
    const auto again = evaluate(step.graph, *create_cpu_device(threads), step.inputs);
    ASSERT_EQ(again.size(), first.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      EXPECT_EQ(again[i].bytes, first[i].bytes) << "output " << i << " on " << threads << " threads";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, Determinism, testing::Values(make_step, make_sequences));

TEST(Fingerprint, SaysWhatTheBitsDependOn) {
  const std::string print = create_cpu_device(2)->fingerprint();
  EXPECT_NE(print.find("isa="), std::string::npos) << print;
  EXPECT_NE(print.find("dnnl="), std::string::npos) << print;
  EXPECT_NE(print.find("threads=2"), std::string::npos) << print;
}

}  // namespace
}  // namespace ml
