// Graphs in which values decide shapes: what their plans answer on every device, and what a worker tells of them.
#include "engine/runtime/staged_plan.h"

#include <gtest/gtest.h>

#include "engine/graph/build.h"
#include "engine/graph/build_control.h"
#include "engine/graph/build_dynamic.h"
#include "engine/runtime/devices.h"
#include "ml/error.h"
#include "tests/delayed/device.h"
#include "tests/unit/runtime/client.h"
#include "tests/unit/runtime/host_tensors.h"

namespace ml {
namespace {

using test::floats;
using test::values_of;
using Floats = std::vector<float>;
using Integers = std::vector<std::int64_t>;

HostTensor integers(const Shape& shape, const Integers& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {DType::i64, shape, {bytes.begin(), bytes.end()}};
}
Var integer_vector(Graph& graph, const Integers& values) {
  return constant(graph, make_constant(DType::i64, Shape{static_cast<std::int64_t>(values.size())},
                                       std::as_bytes(std::span(values))));
}
// The first `count` (i64 scalar) elements of the vector x.
Var first_of(Var x, Var count) {
  Graph& graph = *x.graph;
  return slice_by(x, integer_vector(graph, {0}), reshape(count, {1}), integer_vector(graph, {1}), {0});
}
Var count_of(Var condition) { return reduce_sum(cast(condition, DType::i64)); }

// The elements of x that are larger than 0, in order.
Var positive(Var x) {
  const Var kept = gt(x, 0.0);
  const Var ranks = cumsum(cast(kept, DType::i64), 0, true);
  const Var nowhere = reduce_sum(cast(ge(x, x), DType::i64));  // one past the end, if there is no NaN
  const Var places = select(kept, ranks, nowhere);
  const Var room = concat(std::vector<Var>{x - x, x - x}, 0);
  return first_of(scatter_elements_add(room, places, x, 0), count_of(kept));
}

class StagedPlans : public testing::TestWithParam<int> {
 protected:
  std::unique_ptr<Device> device = GetParam() == 0   ? create_reference_device()
                                   : GetParam() == 1 ? runtime::create_device("cpu", 2)
                                                     : test::create_delayed_device(5);
  std::vector<HostTensor> run(const Graph& graph, const std::vector<HostTensor>& inputs) {
    verify(graph);
    return evaluate(graph, *device, inputs);
  }
};
INSTANTIATE_TEST_SUITE_P(Devices, StagedPlans, testing::Range(0, 3));

TEST_P(StagedPlans, TakeAShapeFromAnInput) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 6});
  const Var shape = input(graph, "shape", DType::i64, {2});
  const Var y = reshape_to(exp(x), shape);
  output("y", y + 1.0);
  output("x", x + x);
  for (const Integers& wanted : {Integers{3, 4}, Integers{-1, 2}, Integers{3, 4}}) {
    const auto results = run(graph, {floats({2, 6}, Floats(12, 0)), integers({2}, wanted)});
    EXPECT_EQ(results[0].shape, (Shape{12 / (wanted[0] < 0 ? 2 : wanted[1]), wanted[1]}));
    EXPECT_EQ(values_of(results[0]), Floats(12, 2));
    EXPECT_EQ(results[1].shape, (Shape{2, 6}));
  }
}

TEST_P(StagedPlans, TakeAShapeFromWhatWasComputed) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {6});
  output("y", positive(x) * 2.0);
  const auto some = run(graph, {floats({6}, {1, -2, 3, -4, 5, -6})});
  EXPECT_EQ(some[0].shape, Shape{3});
  EXPECT_EQ(values_of(some[0]), (Floats{2, 6, 10}));
  const auto none = run(graph, {floats({6}, Floats(6, -1))});
  EXPECT_EQ(none[0].shape, Shape{0});
}

TEST_P(StagedPlans, GoOnBehindEachOther) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {6});
  output("y", positive(positive(x) - 2.0));
  output("n", count_of(gt(x, 0.0)));
  const auto results = run(graph, {floats({6}, {1, 2, 3, -4, 5, 6})});
  EXPECT_EQ(values_of(results[0]), (Floats{1, 3, 4}));
  EXPECT_EQ(values_of<std::int64_t>(results[1]), Integers{5});
}

TEST_P(StagedPlans, TakeTheBranchWhoseShapeItIs) {
  const auto branch = [](bool twice) {
    auto body = std::make_shared<Graph>();
    const Var x = input(*body, "x", DType::f32, {2});
    output("y", twice ? concat(std::vector<Var>{x, x}, 0) : neg(x));
    return body;
  };
  Graph graph;
  const Var condition = input(graph, "c", DType::boolean, {});
  const Var x = input(graph, "x", DType::f32, {2});
  output("y", if_else(condition, branch(true), branch(false), std::vector<Var>{x})[0] + 1.0);
  const auto boolean = [](bool value) { return HostTensor{DType::boolean, {}, {std::byte{value}}}; };
  EXPECT_EQ(values_of(run(graph, {boolean(true), floats({2}, {1, 2})})[0]), (Floats{2, 3, 2, 3}));
  EXPECT_EQ(values_of(run(graph, {boolean(false), floats({2}, {1, 2})})[0]), (Floats{0, -1}));
}

TEST_P(StagedPlans, LoopOverAValueThatGrows) {
  auto condition = std::make_shared<Graph>(), body = std::make_shared<Graph>();
  for (Graph* graph : {condition.get(), body.get()}) {
    const Var turn = input(*graph, "turn", DType::i64, {});
    const Var seen{graph, graph->add_input("seen", {DType::i64, {kUnknown}}, {"n"})};
    const Var turns = input(*graph, "turns", DType::i64, {});
    if (graph == condition.get()) {
      output("go", lt(turn, turns));
      continue;
    }
    output("turn", turn + 1.0);
    output("seen", concat(std::vector<Var>{seen, reshape(turn * turn, {1})}, 0));
  }
  Graph graph;
  const Var turns = input(graph, "turns", DType::i64, {});
  const Var none = constant(graph, make_constant(DType::i64, Shape{0}, {}));
  output("seen",
         while_loop(condition, body, std::vector<Var>{scalar(graph, DType::i64, 0), none}, std::vector<Var>{turns})[1]);
  EXPECT_EQ(values_of<std::int64_t>(run(graph, {integers({}, {4})})[0]), (Integers{0, 1, 4, 9}));
  EXPECT_EQ(run(graph, {integers({}, {0})})[0].shape, Shape{0});
}

TEST_P(StagedPlans, ScanWithAShapeThatEachTurnComputes) {
  auto body = std::make_shared<Graph>();
  const Var sum = input(*body, "sum", DType::f32, {}), row = input(*body, "row", DType::f32, {4});
  output("sum", sum + reduce_sum(positive(row)));
  output("now", sum);
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {3, 4});
  const auto results =
      scan(body, std::vector<Var>{scalar(graph, DType::f32, 0)}, std::vector<Var>{x}, {}, {.reverse = true});
  output("sum", results[0]);
  output("before", results[1]);
  const auto answer = run(graph, {floats({3, 4}, {1, -1, 2, -2, 3, 3, 3, -3, -4, -4, -4, 5})});
  EXPECT_EQ(values_of(answer[0]), Floats{17});
  EXPECT_EQ(values_of(answer[1]), (Floats{14, 5, 0}));
}

TEST_P(StagedPlans, KeepDonatedState) {
  Graph graph;
  const Var state = input(graph, "state", DType::f32, {4}), x = input(graph, "x", DType::f32, {4});
  output("state", state + reduce_sum(positive(x)));
  output("positive", positive(x));
  graph.donate(0, 0);
  const auto results = run(graph, {floats({4}, {0, 1, 2, 3}), floats({4}, {5, -1, -1, 5})});
  EXPECT_EQ(values_of(results[0]), (Floats{10, 11, 12, 13}));
  EXPECT_EQ(values_of(results[1]), (Floats{5, 5}));
}

TEST(StagedPlan, MakesARestOnceForEachValue) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {12});
  output("y", reshape_to(x, input(graph, "shape", DType::i64, {2})));
  const std::unique_ptr<Device> device = create_reference_device();
  runtime::ProgramResources resources(*device);
  const passes::Evaluate fold = runtime::reference_evaluate();
  const std::vector<Shape> shapes{{12}, {2}};
  const auto plan = runtime::make_staged_plan(passes::bind(graph, shapes, fold), resources, {fold});
  EXPECT_FALSE(plan->known());
  runtime::StreamContext context(*device);
  const auto shape_of_run = [&](const Integers& wanted) {
    return runtime::run_plan(*plan, context, std::vector{floats({12}, Floats(12)), integers({2}, wanted)})[0].shape;
  };
  EXPECT_EQ(shape_of_run({3, 4}), (Shape{3, 4}));
  EXPECT_EQ(plan->rests_made(), 1u);
  EXPECT_EQ(shape_of_run({3, 4}), (Shape{3, 4}));
  EXPECT_EQ(plan->rests_made(), 1u);
  EXPECT_EQ(shape_of_run({4, 3}), (Shape{4, 3}));
  EXPECT_EQ(plan->rests_made(), 2u);
}

TEST(StagedPlan, SaysWhichValueDoesNotFit) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {12});
  output("y", reshape_to(x, input(graph, "shape", DType::i64, {2})));
  const std::unique_ptr<Device> device = create_reference_device();
  try {
    evaluate(graph, *device, std::vector{floats({12}, Floats(12)), integers({2}, {5, 5})});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("[5, 5]"), std::string::npos) << error.what();
  }
}

TEST(StagedPlan, RefusesALoopThatNeverStopsGrowing) {
  auto condition = std::make_shared<Graph>(), body = std::make_shared<Graph>();
  const Var any{condition.get(), condition->add_input("x", {DType::f32, {kUnknown}}, {"n"})};
  output("go", ge(reduce_sum(any), 0.0));
  const Var x{body.get(), body->add_input("x", {DType::f32, {kUnknown}}, {"n"})};
  output("x", concat(std::vector<Var>{x, slice(x, {0}, {1})}, 0));
  Graph graph;
  output("y", while_loop(condition, body, std::vector<Var>{input(graph, "x", DType::f32, {1})})[0]);
  const std::unique_ptr<Device> device = create_reference_device();
  try {
    evaluate(graph, *device, std::vector{floats({1}, {1})});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::unsupported) << error.what();
  }
}

class StagedWorker : public testing::TestWithParam<bool> {
 protected:
  static std::unique_ptr<Device> device() {
    return GetParam() ? test::create_delayed_device(7) : create_reference_device();
  }
};
INSTANTIATE_TEST_SUITE_P(Devices, StagedWorker, testing::Bool(),
                         [](const auto& instance) { return instance.param ? "delayed" : "reference"; });

TEST_P(StagedWorker, TellsShapesAndWhatIsNeededAndLeavesStateAlone) {
  Graph graph;
  const Var state = input(graph, "state", DType::f32, {4}), x = input(graph, "x", DType::f32, {4});
  output("state", state + x);
  output("positive", positive(x));
  graph.donate(0, 0);
  test::TestClient client(device());
  test::TestQueue queue(client.worker, client.session);
  const mlring_handle program = client.load(queue, graph);
  const auto s = client.put(Floats{1, 1, 1, 1}), at = client.put(Floats{1, -2, 3, 4}), to = client.reserve(64);
  const mlring_argument inout = client.argument(MLRING_INOUT, DType::f32, {4}, s);
  const auto attempt = [&](std::int64_t room) {
    mlring_argument out = client.argument(MLRING_OUT, DType::f32, {room}, to);
    out.rank = 0;
    return client.execute(program, {inout, client.argument(MLRING_IN, DType::f32, {4}, at), inout, out});
  };
  const mlring_descriptor small = attempt(2);
  EXPECT_EQ(queue.run(small).status(), MLRING_TOO_SMALL);
  EXPECT_EQ(client.table(small.argument_offset)[3].needed, 12u);
  EXPECT_EQ(client.get(s, 4), (Floats{1, 1, 1, 1})) << "the state is as it was";
  const mlring_descriptor enough = attempt(4);
  EXPECT_EQ(queue.run(enough).status(), MLRING_OK);
  EXPECT_EQ(client.table(enough.argument_offset)[3].rank, 1u);
  EXPECT_EQ(client.table(enough.argument_offset)[3].dims[0], 3u);
  EXPECT_EQ(client.get(to, 3), (Floats{1, 3, 4}));
  EXPECT_EQ(client.get(s, 4), (Floats{2, -1, 4, 5}));
}

}  // namespace
}  // namespace ml
