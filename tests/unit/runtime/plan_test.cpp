// What a plan promises: memory, order, control flow and fingerprints.
#include "engine/runtime/plan.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/graph/build.h"
#include "engine/graph/build_control.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/text.h"
#include "engine/runtime/devices.h"
#include "engine/runtime/program.h"
#include "ml/error.h"
#include "tests/delayed/device.h"
#include "tests/unit/runtime/host_tensors.h"

namespace ml {
namespace {

using test::floats;
using test::values_of;
using Floats = std::vector<float>;

std::unique_ptr<const runtime::Plan> plan_of(const Graph& graph, runtime::ProgramResources& resources) {
  return runtime::make_plan(graph, resources, {runtime::reference_evaluate()});
}

Var integers(Graph& graph, const std::vector<std::int64_t>& values) {
  return constant(graph, make_constant(DType::i64, Shape{static_cast<std::int64_t>(values.size())},
                                       std::as_bytes(std::span(values))));
}

// x -> x + 1, `turns` times, through values that can all share two places.
Graph chain(int turns) {
  Graph graph;
  Var x = input(graph, "x", DType::f32, {256});
  for (int i = 0; i < turns; ++i) x = sin(x) + x;
  output("y", x);
  return graph;
}

TEST(Plan, NeedsNoMoreMemoryForALongerChain) {
  const std::unique_ptr<Device> device = create_reference_device();
  runtime::ProgramResources resources(*device);
  const auto few = plan_of(chain(4), resources), many = plan_of(chain(40), resources);
  EXPECT_EQ(few->scratch_bytes(), many->scratch_bytes());
  EXPECT_LE(many->scratch_bytes(), 3 * 256 * sizeof(float));
  EXPECT_GE(many->scratch_bytes(), many->scratch_lower_bound());
}

TEST(Plan, ReusesAnOperandInPlace) {
  Graph graph;
  Var x = input(graph, "x", DType::f32, {256});
  for (int i = 0; i < 10; ++i) x = neg(sin(x));
  output("y", x);
  const std::unique_ptr<Device> device = create_reference_device();
  runtime::ProgramResources resources(*device);
  EXPECT_LE(plan_of(graph, resources)->scratch_bytes(), 256 * sizeof(float));
}

TEST(Plan, TakesNoStepForAReshape) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4, 4});
  output("y", reshape(exp(reshape(x, {16})), {2, 8}));
  const std::unique_ptr<Device> device = create_reference_device();
  runtime::ProgramResources resources(*device);
  EXPECT_EQ(plan_of(graph, resources)->step_count(), 1u);
}

TEST(Plan, HasTheSameFingerprintInEveryProcess) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 3});
  output("y", matmul(x, x, true) + 1.0);
  const std::unique_ptr<Device> device = create_reference_device(), again = create_reference_device();
  runtime::ProgramResources first(*device), second(*again);
  const auto plan = plan_of(graph, first);
  EXPECT_EQ(plan->fingerprint(), plan_of(graph, second)->fingerprint());
  EXPECT_EQ(plan->fingerprint(), plan_of(parse(print(graph)), second)->fingerprint());
  EXPECT_NE(plan->fingerprint(), plan_of(chain(1), second)->fingerprint());
  // Anything else than numbers that follow from the plan (an address, a hash of one) would change this one.
  EXPECT_EQ(plan->describe(), plan_of(graph, second)->describe());
}

TEST(Plan, TellsThreadCountsApart) {
  Graph graph;
  output("y", exp(input(graph, "x", DType::f32, {1000})));
  const std::unique_ptr<Device> one = runtime::create_device("cpu", 1), two = runtime::create_device("cpu", 2);
  runtime::ProgramResources first(*one), second(*two);
  EXPECT_NE(plan_of(graph, first)->fingerprint(), plan_of(graph, second)->fingerprint());
}

TEST(Plan, RefusesAGraphThatIsNotBound) {
  Graph graph;
  output("y", exp(Var{&graph, graph.add_input("x", {DType::f32, {kUnknown}}, {"n"})}));
  const std::unique_ptr<Device> device = create_reference_device();
  runtime::ProgramResources resources(*device);
  EXPECT_THROW(plan_of(graph, resources), Error);
}

TEST(Plan, RefusesOneInputDonatedTwice) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2});
  output("a", x + 1.0);
  output("b", x + 2.0);
  graph.donate(0, 0);
  graph.donate(0, 1);
  const std::unique_ptr<Device> device = create_reference_device();
  runtime::ProgramResources resources(*device);
  try {
    plan_of(graph, resources);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("donated more than once"), std::string::npos) << error.what();
  }
}

TEST(Program, PacksAndPlacesConstantsOnceForAllShapes) {
  Graph graph;
  const Var x{&graph, graph.add_input("x", {DType::f32, {kUnknown, 64}}, {"n", ""})};
  std::vector<float> weights(64 * 64, 0.5f);
  const Var w = constant(graph, make_constant(DType::f32, {64, 64}, std::as_bytes(std::span(weights))));
  output("y", matmul(x, w));
  // On a device with its own memory every constant that is placed is a buffer.
  class Counting final : public Device {
   public:
    std::string_view name() const override { return inner->name(); }
    const DeviceTraits& traits() const override { return inner->traits(); }
    std::string fingerprint() const override { return inner->fingerprint(); }
    std::unique_ptr<Buffer> allocate(std::size_t bytes) override {
      ++allocations;
      return inner->allocate(bytes);
    }
    std::unique_ptr<Buffer> wrap(void* memory, std::size_t bytes) override { return inner->wrap(memory, bytes); }
    std::unique_ptr<Stream> create_stream() override { return inner->create_stream(); }
    std::span<const Implementation> implementations() const override { return inner->implementations(); }
    std::unique_ptr<Device> inner = test::create_delayed_device(3);
    int allocations = 0;
  } device;
  runtime::Program program(graph, device, {});
  for (const std::int64_t n : {1, 2, 3, 17}) program.prepare(std::vector<Shape>{{n, 64}});
  EXPECT_EQ(device.allocations, 1);
}

// Layers that have packed weights on the cpu: products, a convolution and an LSTM, of any batch and length.
Graph network_of_any_size() {
  Graph graph;
  std::mt19937 random(3);
  const auto weights = [&](const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (float& value : values) value = static_cast<float>(random() % 100) * 0.01f;
    return constant(graph, make_constant(DType::f32, shape, std::as_bytes(std::span(values))));
  };
  const Var x{&graph, graph.add_input("x", {DType::f32, {kUnknown, kUnknown, 32}}, {"batch", "tokens", ""})};
  const Var image{&graph, graph.add_input("image", {DType::f32, {kUnknown, 16, 8, 8}}, {"batch", "", "", ""})};
  output("y", matmul(relu(matmul(x, weights({32, 64}))), weights({64, 32})));
  output("pixels", relu(convolution(image, weights({32, 16, 1, 1}), weights({32}), Windows::unit(2))));
  return graph;
}

TEST(Program, PacksNoConstantForMoreShapes) {
  const std::unique_ptr<Device> device = runtime::create_device("cpu", 2);
  runtime::Program program(network_of_any_size(), *device, {});
  const auto bind = [&](std::int64_t batch, std::int64_t tokens) {
    program.prepare(std::vector<Shape>{{batch, tokens, 32}, {batch, 16, 8, 8}});
  };
  bind(1, 1);
  const std::uint64_t packed = program.device_bytes();
  EXPECT_GT(packed, 0u);
  for (const std::int64_t size : {2, 3, 17, 64, 129}) bind(size, size + 1);
  EXPECT_EQ(program.device_bytes(), packed);
}

TEST(ProgramResources, LetGoOfConstantsThatWereMadeForOnePlan) {
  const std::unique_ptr<Device> device = runtime::create_device("cpu", 1);
  Graph graph;
  const Var x{&graph, graph.add_input("x", {DType::f32, {kUnknown, 64}}, {"n", ""})};
  const Var table = constant(graph, make_splat(DType::f32, {512, 64}, 1)), first = integers(graph, {0});
  output("y", x + slice_by(table, first, slice(shape_of(x), {0}, {1}), integers(graph, {1}), {0}));
  output("z", x + gather(table, integers(graph, {4}), 0));
  runtime::ProgramResources resources(*device);
  const passes::Evaluate evaluate = runtime::reference_evaluate();
  const auto plan_for = [&](std::int64_t n) {
    return runtime::make_plan(passes::bind(graph, std::vector<Shape>{{n, 64}}, evaluate), resources, {evaluate});
  };
  auto plan = plan_for(100);
  const std::size_t of_one = resources.constant_count();
  for (const std::int64_t n : {101, 102, 103}) plan = plan_for(n);
  EXPECT_GT(resources.constant_count(), of_one);
  resources.drop_unused();
  EXPECT_EQ(resources.constant_count(), of_one);
}

class ControlFlow : public testing::TestWithParam<int> {
 protected:
  static std::unique_ptr<Device> device() {
    switch (GetParam()) {
      case 0: return create_reference_device();
      case 1: return test::create_delayed_device(11);
      case 2: return test::create_delayed_device(11, test::Delay::until_asked);
      default: return runtime::create_device("cpu", 2);
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Devices, ControlFlow, testing::Range(0, 4));

GraphPtr body(void (*build)(Graph&)) {
  Graph graph;
  build(graph);
  return std::make_shared<const Graph>(std::move(graph));
}

TEST_P(ControlFlow, TakesOneOfTwoBranches) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {3});
  const GraphPtr twice = body([](Graph& g) { output("y", input(g, "x", DType::f32, {3}) * 2.0); });
  const GraphPtr same = body([](Graph& g) { output("y", input(g, "x", DType::f32, {3})); });
  const Var positive = gt(reduce_sum(x), 0.0);
  output("y", if_else(positive, twice, same, std::vector<Var>{x})[0]);
  const std::unique_ptr<Device> d = device();
  EXPECT_EQ(values_of(evaluate(graph, *d, std::vector{floats({3}, {1, 2, 3})})[0]), (Floats{2, 4, 6}));
  EXPECT_EQ(values_of(evaluate(graph, *d, std::vector{floats({3}, {-1, -2, -3})})[0]), (Floats{-1, -2, -3}));
}

TEST_P(ControlFlow, LoopsWhileACondition) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2});
  const Var limit = input(graph, "limit", DType::f32, {});
  const GraphPtr below = body([](Graph& g) {
    const Var now = input(g, "now", DType::f32, {2});
    output("go", lt(reduce_max(now), input(g, "limit", DType::f32, {})));
  });
  const GraphPtr twice = body([](Graph& g) {
    output("next", input(g, "now", DType::f32, {2}) * 2.0);
    input(g, "limit", DType::f32, {});
  });
  output("y", while_loop(below, twice, std::vector<Var>{x}, std::vector<Var>{limit})[0]);
  const std::unique_ptr<Device> d = device();
  const auto run = [&](float bound) {
    return values_of(evaluate(graph, *d, std::vector{floats({2}, {1, 3}), floats({}, {bound})})[0]);
  };
  EXPECT_EQ(run(2), (Floats{1, 3})) << "no turn";
  EXPECT_EQ(run(6), (Floats{2, 6})) << "an odd number of turns";
  EXPECT_EQ(run(10), (Floats{4, 12})) << "an even number";
}

TEST_P(ControlFlow, ScansForwardsAndBackwards) {
  const GraphPtr add = body([](Graph& g) {
    const Var before = input(g, "sum", DType::f32, {2});
    const Var slice = input(g, "slice", DType::f32, {2});
    const Var sum = before + slice * input(g, "by", DType::f32, {});
    output("sum", sum);
    output("sums", sum);
  });
  for (const bool reverse : {false, true}) {
    Graph graph;
    const Var start = input(graph, "start", DType::f32, {2});
    const Var rows = input(graph, "rows", DType::f32, {3, 2});
    const Var by = input(graph, "by", DType::f32, {});
    const std::vector<Var> results =
        scan(add, std::vector<Var>{start}, std::vector<Var>{rows}, std::vector<Var>{by}, {.reverse = reverse});
    output("final", results[0]);
    output("sums", results[1]);
    const std::unique_ptr<Device> d = device();
    const std::vector<HostTensor> answer =
        evaluate(graph, *d, std::vector{floats({2}, {0, 0}), floats({3, 2}, {1, 2, 3, 4, 5, 6}), floats({}, {10})});
    EXPECT_EQ(values_of(answer[0]), (Floats{90, 120}));
    EXPECT_EQ(values_of(answer[1]), reverse ? (Floats{90, 120, 80, 100, 50, 60}) : (Floats{10, 20, 40, 60, 90, 120}));
  }
}

TEST_P(ControlFlow, ScansOverNothing) {
  const GraphPtr add = body([](Graph& g) {
    const Var before = input(g, "sum", DType::f32, {2});
    output("sum", before + input(g, "slice", DType::f32, {2}));
  });
  Graph graph;
  const Var start = input(graph, "start", DType::f32, {2});
  const Var rows = input(graph, "rows", DType::f32, {0, 2});
  output("final", scan(add, std::vector<Var>{start}, std::vector<Var>{rows}, {})[0]);
  const std::unique_ptr<Device> d = device();
  EXPECT_EQ(values_of(evaluate(graph, *d, std::vector{floats({2}, {5, 6}), floats({0, 2}, {})})[0]), (Floats{5, 6}));
}

TEST_P(ControlFlow, BindsTheBodiesOfSymbolicGraphs) {
  Graph inner;
  output("y", Var{&inner, inner.add_input("x", {DType::f32, {kUnknown}}, {"n"})} * 2.0);
  const auto twice = std::make_shared<const Graph>(std::move(inner));
  Graph graph;
  const Var x{&graph, graph.add_input("x", {DType::f32, {kUnknown}}, {"n"})};
  const Var yes = input(graph, "yes", DType::boolean, {});
  output("y", if_else(yes, twice, twice, std::vector<Var>{x})[0]);
  HostTensor condition{DType::boolean, {}, {std::byte{1}}};
  const std::unique_ptr<Device> d = device();
  EXPECT_EQ(values_of(evaluate(graph, *d, std::vector{floats({3}, {1, 2, 3}), condition})[0]), (Floats{2, 4, 6}));
}

}  // namespace
}  // namespace ml
