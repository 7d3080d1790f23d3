// Donated state: updated where it stands, and right whatever else is read or answered.
#include <gtest/gtest.h>

#include "engine/graph/build.h"
#include "ml/error.h"
#include "tests/delayed/device.h"
#include "tests/unit/runtime/host_tensors.h"

namespace ml {
namespace {

using test::floats;
using test::values_of;
using Floats = std::vector<float>;

struct Case {
  const char* name;
  void (*build)(Graph& graph);
  std::vector<Floats> inputs;
  std::vector<Floats> wanted;
};

void PrintTo(const Case& a, std::ostream* out) { *out << a.name; }

const Case kCases[] = {
    {"written by the last reader",
     [](Graph& g) {
       Var x = input(g, "x", DType::f32, {2});
       output("y", x + 1.0);
       g.donate(0, 0);
     },
     {{1, 2}},
     {{2, 3}}},
    {"read by a later node",
     [](Graph& g) {
       Var x = input(g, "x", DType::f32, {2});
       Var y = x + 1.0;
       output("y", y);
       output("later", x * 10.0);
       g.donate(0, 0);
     },
     {{1, 2}},
     {{2, 3}, {10, 20}}},
    {"read by a node that needs the new value too",
     [](Graph& g) {
       Var x = input(g, "x", DType::f32, {2});
       Var y = x + 1.0;
       output("y", y);
       output("both", x * y);
       g.donate(0, 0);
     },
     {{1, 2}},
     {{2, 3}, {2, 6}}},
    {"answered as it was as well",
     [](Graph& g) {
       Var x = input(g, "x", DType::f32, {2});
       output("y", x + 1.0);
       output("before", x);
       g.donate(0, 0);
     },
     {{1, 2}},
     {{2, 3}, {1, 2}}},
    {"two states swapped",
     [](Graph& g) {
       Var a = input(g, "a", DType::f32, {2});
       Var b = input(g, "b", DType::f32, {2});
       output("a'", reshape(reshape(b, {1, 2}), {2}));
       output("b'", reshape(reshape(a, {1, 2}), {2}));
       g.donate(0, 0);
       g.donate(1, 1);
     },
     {{1, 2}, {3, 4}},
     {{3, 4}, {1, 2}}},
    {"two states each made of the other",
     [](Graph& g) {
       Var a = input(g, "a", DType::f32, {2});
       Var b = input(g, "b", DType::f32, {2});
       output("a'", b * 2.0);
       output("b'", a + b);
       g.donate(0, 0);
       g.donate(1, 1);
     },
     {{1, 2}, {3, 4}},
     {{6, 8}, {4, 6}}},
    {"handed through unchanged",
     [](Graph& g) {
       Var x = input(g, "x", DType::f32, {2});
       output("y", x);
       g.donate(0, 0);
     },
     {{1, 2}},
     {{1, 2}}},
    {"a constant",
     [](Graph& g) {
       input(g, "x", DType::f32, {});
       output("y", scalar(g, DType::f32, 7));
       g.donate(0, 0);
     },
     {{1}},
     {{7}}},
    {"one value for two states and an output",
     [](Graph& g) {
       Var a = input(g, "a", DType::f32, {2});
       Var b = input(g, "b", DType::f32, {2});
       output("a'", a + b);
       output("b'", a + b);
       output("sum", a + b);
       g.donate(0, 0);
       g.donate(1, 1);
     },
     {{1, 2}, {3, 4}},
     {{4, 6}, {4, 6}, {4, 6}}},
    {"seen in another shape",
     [](Graph& g) {
       Var x = input(g, "x", DType::f32, {4});
       Var square = reshape(x, {2, 2});
       output("y", reshape(matmul(square, square), {4}));
       output("before", square);
       g.donate(0, 0);
     },
     {{1, 2, 3, 4}},
     {{7, 10, 15, 22}, {1, 2, 3, 4}}},
};

class Donation : public testing::TestWithParam<std::tuple<Case, bool>> {};

TEST_P(Donation, GivesTheNewStateAndEverythingElse) {
  const auto& [the_case, delayed] = GetParam();
  Graph graph;
  the_case.build(graph);
  verify(graph);
  std::vector<HostTensor> inputs;
  for (std::size_t i = 0; i < the_case.inputs.size(); ++i)
    inputs.push_back(floats(graph.type(graph.inputs()[i].value).shape, the_case.inputs[i]));
  const std::unique_ptr<Device> device = delayed ? test::create_delayed_device(1) : create_reference_device();
  const std::vector<HostTensor> results = evaluate(graph, *device, inputs);
  ASSERT_EQ(results.size(), the_case.wanted.size());
  for (std::size_t i = 0; i < results.size(); ++i)
    EXPECT_EQ(values_of(results[i]), the_case.wanted[i]) << "output " << i;
}

INSTANTIATE_TEST_SUITE_P(Everywhere, Donation, testing::Combine(testing::ValuesIn(kCases), testing::Bool()));

}  // namespace
}  // namespace ml
