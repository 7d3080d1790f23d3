// Where a function has a kink or a tie its gradient is a choice. These are the choices.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "engine/graph/autodiff.h"
#include "engine/runtime/evaluate.h"
#include "tests/matrix/gradients.h"

namespace ml::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct KinkCase {
  const char* name;
  std::vector<double> at;
  Var (*build)(Graph& graph, Var x);
  std::vector<double> gradient;  // of the sum of the result
};

Var numbers(Graph& graph, std::vector<double> values) {
  const auto bytes = std::as_bytes(std::span(values));
  return constant(graph, make_constant(DType::f64, {static_cast<std::int64_t>(values.size())}, bytes));
}

const KinkCase kCases[] = {
    {"abs is flat at 0", {-2, 0, 2}, [](Graph&, Var x) { return abs(x); }, {-1, 0, 1}},
    {"relu is flat at 0", {-2, 0, 2}, [](Graph&, Var x) { return relu(x); }, {0, 0, 1}},
    {"maximum shares a tie",
     {1, 2, 3},
     [](Graph& g, Var x) {
       return maximum(x, numbers(g, {2, 2, 2}));
     },
     {0, 0.5, 1}},
    {"minimum shares a tie",
     {1, 2, 3},
     [](Graph& g, Var x) {
       return minimum(numbers(g, {2, 2, 2}), x);
     },
     {1, 0.5, 0}},
    {"maximum of a value with itself", {1, 2}, [](Graph&, Var x) { return maximum(x, x); }, {1, 1}},
    {"clamp shares at its ends", {-1, 0, 1}, [](Graph&, Var x) { return clamp(x, -1, 1); }, {0.5, 1, 0.5}},
    {"reduce_max shares ties", {3, 1, 3, 3}, [](Graph&, Var x) { return reduce_max(x) * 3.0; }, {1, 0, 1, 1}},
    {"reduce_min shares ties", {1, 4, 1}, [](Graph&, Var x) { return reduce_min(x); }, {0.5, 0, 0.5}},
    {"reduce_max over no axes", {1, 4}, [](Graph&, Var x) { return emit("reduce_max", {x}); }, {1, 1}},
    {"sort keeps the order of equals",
     {2, 1, 2},
     [](Graph& g, Var x) {
       return sort(x, 0).first * numbers(g, {1, 10, 100});
     },
     {10, 1, 100}},
    {"sort down keeps the order of equals",
     {2, 1, 2},
     [](Graph& g, Var x) {
       return sort(x, 0, true).first * numbers(g, {1, 10, 100});
     },
     {1, 100, 10}},
    {"top_k takes the first of equals", {2, 2, 2}, [](Graph&, Var x) { return top_k(x, 2, 0).first; }, {1, 1, 0}},
    {"floor is flat", {1, -1.5}, [](Graph&, Var x) { return floor(x) * x; }, {1, -2}},
    {"powers of 0",
     {0, 0, 0, 0},
     [](Graph& g, Var x) {
       return pow(x, numbers(g, {0, 1, 2, 3}));
     },
     {0, 1, 0, 0}},
    {"a power of 0 by its exponent",
     {0, 1, 2},
     [](Graph& g, Var x) {
       return pow(numbers(g, {0, 0, 0}), x);
     },
     {0, 0, 0}},
    {"a negative base by its exponent",
     {2, 3},
     [](Graph& g, Var x) {
       return pow(numbers(g, {-2, -2}), x);
     },
     {0, 0}},
    {"a product with one zero", {0, 3, 5}, [](Graph&, Var x) { return reduce_prod(x); }, {15, 0, 0}},
    {"a product with two zeros", {0, 3, 0}, [](Graph&, Var x) { return reduce_prod(x); }, {0, 0, 0}},
    {"select keeps NaN on its side",
     {-1, 4},
     [](Graph&, Var x) { return select(gt(x, 0.0), x * x, x * 0.0 + 1.0); },
     {0, 8}},
    {"maximum passes NaN on", {kNan}, [](Graph&, Var x) { return maximum(x, 0.0); }, {kNan}},
};

TEST(Gradients, ChooseAtKinksAsTheTableSays) {
  const std::unique_ptr<Device> device = create_reference_device();
  for (const KinkCase& c : kCases) {
    Graph graph;
    const Var x = input(graph, "x", DType::f64, {static_cast<std::int64_t>(c.at.size())});
    output("dx", gradients(reduce_sum(c.build(graph, x)), std::span(&x, 1))[0]);
    const auto bytes = std::as_bytes(std::span(c.at));
    const HostTensor at{DType::f64, x.shape(), {bytes.begin(), bytes.end()}};
    const HostTensor result = evaluate(graph, *device, std::span(&at, 1))[0];
    std::vector<double> got(c.at.size());
    ASSERT_EQ(result.bytes.size(), bytes.size()) << c.name;
    std::memcpy(got.data(), result.bytes.data(), bytes.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      const bool same = got[i] == c.gradient[i] || (std::isnan(got[i]) && std::isnan(c.gradient[i]));
      EXPECT_TRUE(same) << c.name << ": element " << i << " is " << got[i] << ", not " << c.gradient[i];
    }
  }
}

}  // namespace
}  // namespace ml::test
