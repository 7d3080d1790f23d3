// Softmax, losses, norms, detection, random numbers and optimizer steps.
#include "engine/graph/ops/detection.h"
#include "engine/graph/ops/fourier.h"
#include "engine/graph/ops/norm.h"
#include "engine/graph/ops/optimizer.h"
#include "engine/graph/ops/random.h"
#include "tests/matrix/sample.h"

namespace ml::test {
namespace {

auto along(std::int64_t axis) {
  return with<AxisAttributes>([axis](AxisAttributes& a) { a.axis = axis; });
}
std::vector<Sample> softmax() {
  return {
      {"one", {{{1}}}, along(0)},
      {"empty", {{kEmpty}}, along(0)},
      {"over nothing", {{kEmpty}}, along(1)},
      {"odd", {{kOdd}}, along(2)},
      {"middle", {{kOdd}}, along(1)},
      {"special", {{{23, 11}, Fill::special}}, along(1)},
      {"large", {{kLarge}}, along(1)},
      {"large columns", {{kLarge}}, along(0)},
  };
}

Input labels(const Shape& shape, std::int64_t classes, DType dtype = DType::i64, Fill values = Fill::below) {
  return {shape, values, dtype, classes, {}};
}
std::vector<Sample> cross_entropy() {
  return {
      {"one example", {{{7}}, labels({}, 7)}, {}},
      {"no examples", {{{0, 7}}, labels({0}, 7)}, {}},
      {"odd", {{{5, 7}}, labels({5}, 7)}, {}},
      {"pixels, i32", {{kOdd}, labels({3, 5}, 7, DType::i32)}, {}},
      {"wrong labels", {{{31, 7}}, labels({31}, 7, DType::i64, Fill::wild_index)}, {}},
      {"large", {{kLarge}, labels({257}, 263)}, {}},
  };
}

auto keeping(std::int64_t most) {
  return with<SuppressionAttributes>([most](SuppressionAttributes& a) { a.most = most; });
}
std::vector<Sample> suppression() {
  const Input threshold{{}, Fill::exact}, overlap{{}, Fill::positive};
  return {
      {"one box", {{{1, 1, 4}}, {{1, 1, 1}}, threshold, threshold}, keeping(kUnknown)},
      {"no boxes", {{{2, 0, 4}}, {{2, 3, 0}}, threshold, threshold}, keeping(5)},
      {"no classes", {{{2, 7, 4}}, {{2, 0, 7}}, threshold, threshold}, keeping(5)},
      {"none kept", {{{2, 7, 4}}, {{2, 3, 7}}, threshold, threshold}, keeping(0)},
      {"odd", {{{2, 13, 4}, Fill::exact}, {{2, 3, 13}}, overlap, threshold}, keeping(kUnknown)},
      {"few", {{{2, 13, 4}}, {{2, 3, 13}}, overlap, threshold}, keeping(3)},
      {"ties", {{{1, 31, 4}, Fill::few}, {{1, 2, 31}, Fill::few}, threshold, threshold}, keeping(kUnknown)},
      {"special", {{{1, 23, 4}, Fill::special}, {{1, 2, 23}, Fill::special}, threshold, threshold}, keeping(kUnknown)},
      {"large", {{{2, 521, 4}}, {{2, 17, 521}}, overlap, threshold}, keeping(13)},
  };
}

auto batch(double epsilon = 1e-3) {
  return with<BatchNormAttributes>([=](BatchNormAttributes& a) { a.epsilon = epsilon; });
}
auto layer(std::int64_t axis, double epsilon = 1e-3) {
  return with<LayerNormAttributes>([=](LayerNormAttributes& a) {
    a.axis = axis;
    a.epsilon = epsilon;
  });
}
auto group(std::int64_t groups, double epsilon = 1e-3) {
  return with<GroupNormAttributes>([=](GroupNormAttributes& a) {
    a.groups = groups;
    a.epsilon = epsilon;
  });
}

// What is normalized, and the shapes of its statistics and parameters.
struct Normalized {
  const char* label;
  Shape x, statistics, parameters;
  std::function<AttributesPtr(DType)> attributes;
};

std::vector<Normalized> batches() {
  return {
      {"one", {1, 1}, {1}, {1}, batch()},
      {"no images", {0, 3, 2, 2}, {3}, {3}, batch()},
      {"matrix", {5, 7}, {7}, {7}, batch()},
      {"images", {2, 3, 5, 7}, {3}, {3}, batch()},
      {"large", {7, 16, 13, 11}, {16}, {16}, batch(1e-5)},
  };
}
std::vector<Normalized> layers() {
  return {
      {"one", {1}, {1}, {1}, layer(0)},
      {"no rows", {0, 3}, {0, 1}, {3}, layer(1)},
      {"rows", {5, 7}, {5, 1}, {7}, layer(1)},
      {"two dimensions", {3, 5, 7}, {3, 1, 1}, {5, 7}, layer(1)},
      {"everything", {3, 5, 7}, {1, 1, 1}, {3, 5, 7}, layer(0)},
      {"large", {257, 263}, {257, 1}, {263}, layer(1, 1e-5)},
  };
}
std::vector<Normalized> groups() {
  return {
      {"one", {1, 1}, {1, 1}, {1}, group(1)},
      {"no images", {0, 4, 2, 2}, {0, 2}, {4}, group(2)},
      {"images", {2, 6, 5, 3}, {2, 3}, {6}, group(3)},
      {"each channel", {2, 3, 5, 7}, {2, 3}, {3}, group(3)},
      {"large", {3, 16, 29, 11}, {3, 4}, {16}, group(4, 1e-5)},
  };
}

std::vector<Sample> forward(const std::vector<Normalized>& all) {
  std::vector<Sample> samples;
  for (const Normalized& n : all) {
    const std::string label(n.label);
    samples.push_back({label, {{n.x}}, n.attributes});
    samples.push_back({label + ", scale", {{n.x}, {n.parameters}}, n.attributes});
    samples.push_back({label + ", scale and bias", {{n.x}, {n.parameters}, {n.parameters}}, n.attributes});
    samples.push_back({label + ", parameters of f32",
                       {{n.x}, {n.parameters, Fill::any, DType::f32}, {n.parameters, Fill::any, DType::f32}},
                       n.attributes});
  }
  return samples;
}
// Statistics are of the dtype itself here: a gradient takes them in either.
std::vector<Sample> backward(const std::vector<Normalized>& all) {
  std::vector<Sample> samples;
  for (const Normalized& n : all) {
    const std::vector<Input> inputs{{n.x}, {n.x}, {n.statistics}, {n.statistics, Fill::positive}};
    samples.push_back({n.label, inputs, n.attributes});
    samples.push_back({n.label + std::string(", scale"), inputs, n.attributes});
    samples.back().inputs.push_back({n.parameters});
  }
  return samples;
}
std::vector<Sample> inference(const std::vector<Normalized>& all) {
  std::vector<Sample> samples;
  for (const Normalized& n : all) {
    std::vector<Input> inputs{{n.x}, {n.statistics}, {n.statistics, Fill::positive}};
    samples.push_back({n.label, inputs, n.attributes});
    inputs.push_back({n.parameters});
    samples.push_back({n.label + std::string(", scale"), inputs, n.attributes});
    inputs.push_back({n.parameters});
    samples.push_back({n.label + std::string(", scale and bias"), inputs, n.attributes});
  }
  return samples;
}

auto transformed(bool inverse, bool onesided) {
  return with<FourierAttributes>([=](FourierAttributes& a) {
    a.inverse = inverse;
    a.onesided = onesided;
  });
}
// One product, factors, a prime that is a product all the same, and a convolution.
std::vector<Sample> dft() {
  std::vector<Sample> samples = {
      {"one", {{{1, 1}}}, transformed(false, false)},
      {"of nothing", {{{0, 2}}}, transformed(false, true)},
      {"none of them", {{{0, 5, 2}}}, transformed(true, false)},
      {"large", {{{17, 263, 2}}}, transformed(false, true)},
      {"roots that are no constants", {{{1, 69632, 1}}}, transformed(false, true)},
  };
  for (const std::int64_t n : {2, 7, 64, 96, 131, 277, 1280}) {
    const std::string label = std::to_string(n);
    samples.push_back({label + " real", {{{3, n, 1}}}, transformed(false, true)});
    samples.push_back({label + " real, all", {{{3, n, 1}}}, transformed(false, false)});
    samples.push_back({label + " complex", {{{2, n, 2}}}, transformed(false, false)});
    samples.push_back({label + " inverse", {{{2, n, 2}}}, transformed(true, false)});
  }
  return samples;
}

const Input kState{{2}, Fill::any, DType::u64, 1, {}};

std::vector<Sample> random_bits() {
  std::vector<Sample> samples;
  for (const Shape& shape : {kScalar, kEmpty, kOdd, kLarge}) {
    samples.push_back(
        {shape.str(), {kState}, with<RandomBitsAttributes>([&](RandomBitsAttributes& a) { a.shape = shape; })});
  }
  return samples;
}
std::vector<Sample> random_numbers() {
  std::vector<Sample> samples;
  for (const Shape& shape : {kScalar, kEmpty, kOdd, kLarge}) {
    samples.push_back({shape.str(), {kState}, [shape](DType dtype) {
                         auto attributes = std::make_shared<RandomAttributes>();
                         attributes->dtype = dtype;
                         attributes->shape = shape;
                         return attributes;
                       }});
  }
  return samples;
}
std::vector<Sample> dropout() {
  std::vector<Sample> samples;
  for (const double rate : {0.0, 0.25, 1.0}) {
    const auto attributes = with<DropoutAttributes>([=](DropoutAttributes& a) { a.rate = rate; });
    for (const Shape& shape : {kScalar, kEmpty, kOdd, kLarge})
      samples.push_back({shape.str() + " at " + std::to_string(rate), {{shape}, kState}, attributes});
  }
  return samples;
}

const Input kRate{kScalar, Fill::positive, DType::f32, 1, {}};

std::vector<Sample> sgd() {
  std::vector<Sample> samples;
  for (const bool nesterov : {false, true}) {
    const auto attributes = with<SgdAttributes>([=](SgdAttributes& a) {
      a.momentum = 0.9;
      a.weight_decay = nesterov ? 0.01 : 0;
      a.nesterov = nesterov;
    });
    for (const Shape& shape : {kScalar, kEmpty, kOdd, kLarge}) {
      samples.push_back({shape.str() + (nesterov ? ", Nesterov" : ""), {{shape}, {shape}, {shape}, kRate}, attributes});
    }
  }
  return samples;
}
std::vector<Sample> adam() {
  const Input step{kScalar, Fill::positive, DType::i64, 1, {}};
  std::vector<Sample> samples;
  for (const double decay : {0.0, 0.01}) {
    for (const bool decoupled : {false, true}) {
      const auto attributes = with<AdamAttributes>([=](AdamAttributes& a) {
        a.weight_decay = decay;
        a.decoupled = decoupled;
      });
      for (const Shape& shape : {kScalar, kEmpty, kOdd, kLarge}) {
        samples.push_back({shape.str() + (decay > 0 ? decoupled ? ", decoupled decay" : ", decay" : ""),
                           {{shape}, {shape}, {shape}, {shape, Fill::positive}, kRate, step},
                           attributes});
      }
    }
  }
  return samples;
}

}  // namespace

std::vector<OpSamples> network_samples() {
  return {
      {"softmax", softmax()},
      {"log_softmax", softmax()},
      {"non_max_suppression", suppression()},
      {"cross_entropy", cross_entropy()},
      {"batch_norm", forward(batches())},
      {"batch_norm_gradient", backward(batches())},
      {"batch_norm_inference", inference(batches())},
      {"layer_norm", forward(layers())},
      {"layer_norm_gradient", backward(layers())},
      {"group_norm", forward(groups())},
      {"group_norm_gradient", backward(groups())},
      {"dft", dft()},
      {"random_bits", random_bits()},
      {"random_uniform", random_numbers()},
      {"random_normal", random_numbers()},
      {"dropout", dropout()},
      {"sgd_momentum_update", sgd()},
      {"adam_update", adam()},
  };
}

}  // namespace ml::test
