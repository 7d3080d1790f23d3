#include "engine/graph/ops/convolution.h"
#include "engine/graph/ops/matmul.h"
#include "tests/matrix/sample.h"

namespace ml::test {
namespace {

auto product(bool transpose_a = false, bool transpose_b = false) {
  return with<MatmulAttributes>([=](MatmulAttributes& a) {
    a.transpose_a = transpose_a;
    a.transpose_b = transpose_b;
  });
}

std::vector<Sample> matmul() {
  return {
      {"one by one", {{{1, 1}}, {{1, 1}}}, product()},
      {"no rows", {{{0, 5}}, {{5, 3}}}, product()},
      {"sums of nothing", {{{4, 0}}, {{0, 3}}}, product()},
      {"odd", {{{3, 5}}, {{5, 7}}}, product()},
      {"row by column", {{{1, 33}}, {{33, 1}}}, product()},
      {"column by row", {{{33, 1}}, {{1, 33}}}, product()},
      {"a transposed", {{{5, 3}}, {{5, 7}}}, product(true, false)},
      {"b transposed", {{{3, 5}}, {{7, 5}}}, product(false, true)},
      {"both transposed", {{{5, 3}}, {{7, 5}}}, product(true, true)},
      {"batch", {{{2, 3, 4, 5}}, {{2, 3, 5, 6}}}, product()},
      {"batches repeated", {{{2, 1, 4, 5}}, {{3, 6, 5}}}, product(false, true)},
      {"no batches", {{{0, 4, 5}}, {{5, 6}}}, product()},
      {"exact", {{{17, 129}, Fill::exact}, {{129, 19}, Fill::exact}}, product()},
      {"large", {{{131, 127}, Fill::exact}, {{127, 137}, Fill::exact}}, product()},
      {"large, transposed", {{{129, 67}, Fill::exact}, {{143, 129}, Fill::exact}}, product(true, true)},
      {"large batch", {{{65, 17, 19}, Fill::exact}, {{19, 23}, Fill::exact}}, product()},
  };
}

Windows windows(Ints strides, Ints low, Ints high, Ints dilations) {
  return {std::move(strides), std::move(low), std::move(high), std::move(dilations)};
}

// Every convolution is tried as itself and as both of its gradients.
struct Case {
  const char* label;
  Shape x, weight, y;
  Windows windows;
  std::int64_t groups = 1;
  Fill values = Fill::exact;
};

std::vector<Case> convolutions() {
  return {
      {"one element", {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, Windows::unit(1)},
      {"no images", {0, 3, 5, 5}, {4, 3, 3, 3}, {0, 4, 3, 3}, Windows::unit(2)},
      {"no input channels", {2, 0, 5, 5}, {4, 0, 3, 3}, {2, 4, 3, 3}, Windows::unit(2)},
      {"no output channels", {2, 3, 5, 5}, {0, 3, 3, 3}, {2, 0, 3, 3}, Windows::unit(2)},
      {"line", {2, 3, 11}, {5, 3, 4}, {2, 5, 8}, Windows::unit(1)},
      {"line, all at once", {2, 4, 13}, {6, 2, 3}, {2, 6, 6}, windows({2}, {2}, {1}, {2}), 2},
      {"plane", {2, 3, 7, 9}, {5, 3, 3, 2}, {2, 5, 5, 8}, Windows::unit(2)},
      {"same size", {2, 3, 7, 7}, {5, 3, 3, 3}, {2, 5, 7, 7}, windows({1, 1}, {1, 1}, {1, 1}, {1, 1})},
      {"same size, rounded",
       {2, 3, 7, 7},
       {5, 3, 3, 3},
       {2, 5, 7, 7},
       windows({1, 1}, {1, 1}, {1, 1}, {1, 1}),
       1,
       Fill::any},
      {"strided", {1, 3, 9, 8}, {4, 3, 3, 3}, {1, 4, 5, 3}, windows({2, 3}, {1, 0}, {1, 1}, {1, 1})},
      {"strides leave a rest", {1, 2, 8, 8}, {3, 2, 3, 3}, {1, 3, 2, 2}, windows({4, 4}, {0, 0}, {0, 0}, {1, 1})},
      {"one by one, strided", {2, 3, 5, 5}, {4, 3, 1, 1}, {2, 4, 3, 3}, windows({2, 2}, {0, 0}, {0, 0}, {1, 1})},
      {"dilated", {1, 2, 9, 9}, {3, 2, 3, 3}, {1, 3, 5, 3}, windows({1, 1}, {0, 0}, {0, 0}, {2, 3})},
      {"padding one side", {1, 2, 4, 5}, {3, 2, 3, 3}, {1, 3, 4, 5}, windows({1, 1}, {2, 0}, {0, 2}, {1, 1})},
      {"grouped", {2, 6, 5, 5}, {9, 2, 3, 3}, {2, 9, 3, 3}, Windows::unit(2), 3},
      {"depthwise", {2, 5, 6, 6}, {5, 1, 3, 3}, {2, 5, 6, 6}, windows({1, 1}, {1, 1}, {1, 1}, {1, 1}), 5},
      {"volume",
       {1, 2, 4, 5, 6},
       {3, 2, 2, 3, 2},
       {1, 3, 3, 3, 3},
       windows({1, 2, 2}, {0, 1, 1}, {0, 1, 0}, {1, 1, 1})},
      {"large", {5, 8, 17, 19}, {16, 8, 3, 3}, {5, 16, 17, 19}, windows({1, 1}, {1, 1}, {1, 1}, {1, 1})},
  };
}

std::vector<Sample> convolution() {
  std::vector<Sample> samples;
  for (const Case& c : convolutions()) {
    const auto attributes = with<ConvolutionAttributes>([&](ConvolutionAttributes& a) {
      a.windows = c.windows;
      a.groups = c.groups;
    });
    samples.push_back({c.label, {{c.x, c.values}, {c.weight, c.values}}, attributes});
    samples.push_back({std::string(c.label) + ", bias",
                       {{c.x, c.values}, {c.weight, c.values}, {{c.weight[0]}, c.values}},
                       attributes});
  }
  return samples;
}

std::vector<Sample> gradient(bool of_input) {
  std::vector<Sample> samples;
  for (const Case& c : convolutions()) {
    const Shape& result = of_input ? c.x : c.weight;
    const auto attributes = with<ConvolutionGradientAttributes>([&](ConvolutionGradientAttributes& a) {
      a.windows = c.windows;
      a.groups = c.groups;
      a.extents.assign(result.begin() + 2, result.end());
    });
    if (of_input)
      samples.push_back({c.label, {{c.y, c.values}, {c.weight, c.values}}, attributes});
    else
      samples.push_back({c.label, {{c.x, c.values}, {c.y, c.values}}, attributes});
  }
  return samples;
}

}  // namespace

std::vector<OpSamples> contraction_samples() {
  return {
      {"matmul", matmul()},
      {"convolution", convolution()},
      {"convolution_input_gradient", gradient(true)},
      {"convolution_weight_gradient", gradient(false)},
  };
}

}  // namespace ml::test
