#include "engine/graph/ops/reduce.h"

#include "tests/matrix/sample.h"

namespace ml::test {
namespace {

auto over(Ints axes, bool keep_dims = false) {
  return with<ReduceAttributes>([&](ReduceAttributes& a) {
    a.axes = std::move(axes);
    a.keep_dims = keep_dims;
  });
}

// No special values for sums and products: whether a part of them overflows depends on the order.
std::vector<Sample> reduction(bool special) {
  std::vector<Sample> samples{
      {"scalar", {{kScalar}}, over({})},
      {"over nothing", {{kEmpty}}, over({1})},
      {"of nothing", {{kEmpty}}, over({0})},
      {"no axes", {{kOdd}}, over({})},
      {"first", {{kOdd}}, over({0})},
      {"middle, kept", {{kOdd}}, over({1}, true)},
      {"outer and inner", {{kOdd}}, over({0, 2})},
      {"all, exact", {{kOdd, Fill::exact}}, over({0, 1, 2})},
      {"large rows", {{kLarge}}, over({1})},
      {"large columns", {{kLarge, Fill::exact}}, over({0}, true)},
      {"large, all", {{kLarge, Fill::exact}}, over({0, 1})},
      {"channels", {{{8, 3, 31, 33}, Fill::exact}}, over({0, 2, 3})},
  };
  if (special) samples.push_back({"special", {{{23, 11}, Fill::special}}, over({1})});
  return samples;
}
// Few factors, or many whose product is the same in every order: 0.
std::vector<Sample> product() {
  std::vector<Sample> samples = reduction(false);
  for (Sample& sample : samples) {
    if (sample.inputs[0].shape.elements() > kOdd.elements()) sample.inputs[0].values = Fill::few;
  }
  return samples;
}

auto arg(std::int64_t axis, bool keep_dims = false) {
  return with<ArgReduceAttributes>([=](ArgReduceAttributes& a) {
    a.axis = axis;
    a.keep_dims = keep_dims;
  });
}
std::vector<Sample> arg_reduction() {
  return {
      {"one", {{{1}}}, arg(0)},
      {"of nothing", {{kEmpty}}, arg(0)},
      {"odd", {{kOdd}}, arg(1)},
      {"kept", {{kOdd}}, arg(2, true)},
      {"ties", {{{9, 31}, Fill::few}}, arg(1)},
      {"special", {{{23, 11}, Fill::special}}, arg(1)},
      {"large rows", {{kLarge}}, arg(1)},
      {"large columns", {{kLarge}}, arg(0)},
  };
}

auto summed(std::int64_t axis, bool exclusive, bool reverse) {
  return with<CumsumAttributes>([=](CumsumAttributes& a) {
    a.axis = axis;
    a.exclusive = exclusive;
    a.reverse = reverse;
  });
}
std::vector<Sample> cumsum() {
  return {
      {"empty", {{kEmpty}}, summed(1, false, false)},
      {"odd", {{kOdd}}, summed(1, false, false)},
      {"exclusive", {{kOdd}}, summed(2, true, false)},
      {"reverse", {{kOdd}}, summed(0, false, true)},
      {"exclusive, reverse", {{kOdd, Fill::exact}}, summed(1, true, true)},
      {"large rows", {{kLarge, Fill::exact}}, summed(1, false, false)},
      {"large columns", {{kLarge, Fill::exact}}, summed(0, false, false)},
  };
}

}  // namespace

std::vector<OpSamples> reduce_samples() {
  return {
      {"reduce_sum", reduction(false)}, {"reduce_mean", reduction(false)},
      {"reduce_prod", product()},       {"reduce_max", reduction(true)},
      {"reduce_min", reduction(true)},  {"argmax", arg_reduction()},
      {"argmin", arg_reduction()},      {"cumsum", cumsum()},
  };
}

}  // namespace ml::test
