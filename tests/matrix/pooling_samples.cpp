#include "engine/graph/ops/pooling.h"

#include "tests/matrix/sample.h"

namespace ml::test {
namespace {

struct Case {
  const char* label;
  Shape x, y;
  Ints size;
  Windows windows;
  Fill values = Fill::exact;
};

// No special values for averages: whether a part of a sum overflows depends on the order.
std::vector<Case> pools(bool special) {
  std::vector<Case> cases{
      {"one element", {1, 1, 1}, {1, 1, 1}, {1}, Windows::unit(1)},
      {"no images", {0, 3, 4, 4}, {0, 3, 2, 2}, {2, 2}, {{2, 2}, {0, 0}, {0, 0}, {1, 1}}},
      {"line", {2, 3, 11}, {2, 3, 5}, {3}, {{2}, {0}, {0}, {1}}},
      {"halves", {2, 3, 6, 8}, {2, 3, 3, 4}, {2, 2}, {{2, 2}, {0, 0}, {0, 0}, {1, 1}}},
      {"overlapping", {2, 3, 7, 7}, {2, 3, 5, 5}, {3, 3}, Windows::unit(2)},
      {"ties", {2, 3, 7, 7}, {2, 3, 5, 5}, {3, 3}, Windows::unit(2), Fill::few},
      {"padded", {1, 2, 7, 5}, {1, 2, 4, 3}, {3, 3}, {{2, 2}, {1, 1}, {1, 1}, {1, 1}}},
      {"padding one side", {1, 2, 5, 4}, {1, 2, 6, 4}, {3, 2}, {{1, 1}, {2, 0}, {1, 1}, {1, 1}}},
      {"dilated", {1, 2, 9, 7}, {1, 2, 5, 4}, {3, 2}, {{1, 1}, {0, 0}, {0, 0}, {2, 3}}},
      {"gaps between windows", {1, 2, 8, 8}, {1, 2, 2, 2}, {2, 2}, {{5, 5}, {0, 0}, {0, 0}, {1, 1}}},
      {"whole image", {2, 3, 5, 7}, {2, 3, 1, 1}, {5, 7}, Windows::unit(2)},
      {"volume", {1, 2, 4, 5, 6}, {1, 2, 2, 3, 3}, {2, 3, 2}, {{2, 1, 2}, {0, 0, 0}, {0, 0, 0}, {1, 1, 1}}},
      {"large", {5, 16, 29, 31}, {5, 16, 14, 15}, {2, 2}, {{2, 2}, {0, 0}, {0, 0}, {1, 1}}},
  };
  if (special)
    cases.push_back({"special", {1, 2, 6, 6}, {1, 2, 3, 3}, {2, 2}, {{2, 2}, {0, 0}, {0, 0}, {1, 1}}, Fill::special});
  return cases;
}

auto max_attributes(const Case& c) {
  return with<MaxPoolAttributes>([&](MaxPoolAttributes& a) {
    a.size = c.size;
    a.windows = c.windows;
  });
}

std::vector<Sample> max_pool() {
  std::vector<Sample> samples;
  for (const Case& c : pools(true)) samples.push_back({c.label, {{c.x, c.values}}, max_attributes(c)});
  return samples;
}
std::vector<Sample> max_pool_gradient() {
  std::vector<Sample> samples;
  for (const Case& c : pools(true))
    samples.push_back({c.label, {{c.x, c.values}, {c.y, Fill::exact}}, max_attributes(c)});
  return samples;
}
std::vector<Sample> max_pool_select() {
  std::vector<Sample> samples;
  for (const Case& c : pools(true))
    samples.push_back({c.label, {{c.x, c.values}, {c.x, Fill::exact}}, max_attributes(c)});
  return samples;
}

std::vector<Sample> average_pool() {
  std::vector<Sample> samples;
  for (const bool count_padding : {false, true}) {
    for (const Case& c : pools(false)) {
      const auto attributes = with<AveragePoolAttributes>([&](AveragePoolAttributes& a) {
        a.size = c.size;
        a.windows = c.windows;
        a.count_padding = count_padding;
      });
      samples.push_back(
          {c.label + std::string(count_padding ? ", counting padding" : ""), {{c.x, c.values}}, attributes});
    }
  }
  return samples;
}
std::vector<Sample> average_pool_gradient() {
  std::vector<Sample> samples;
  for (const bool count_padding : {false, true}) {
    for (const Case& c : pools(false)) {
      const auto attributes = with<AveragePoolGradientAttributes>([&](AveragePoolGradientAttributes& a) {
        a.size = c.size;
        a.windows = c.windows;
        a.count_padding = count_padding;
        a.extents.assign(c.x.begin() + 2, c.x.end());
      });
      samples.push_back(
          {c.label + std::string(count_padding ? ", counting padding" : ""), {{c.y, c.values}}, attributes});
    }
  }
  return samples;
}

}  // namespace

std::vector<OpSamples> pooling_samples() {
  return {
      {"max_pool", max_pool()},
      {"max_pool_gradient", max_pool_gradient()},
      {"max_pool_select", max_pool_select()},
      {"average_pool", average_pool()},
      {"average_pool_gradient", average_pool_gradient()},
  };
}

}  // namespace ml::test
