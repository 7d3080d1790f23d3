// What each opcode does, on a device that sees the client's memory and on one that doesn't and does everything late.
#include <gtest/gtest.h>

#include "engine/runtime/clock.h"
#include "ml/error.h"
#include "tests/delayed/device.h"
#include "tests/unit/runtime/client.h"

namespace ml {
namespace {

using namespace test;
using Floats = std::vector<float>;

class Worker : public testing::TestWithParam<bool> {
 protected:
  static std::unique_ptr<Device> device() {
    return GetParam() ? test::create_delayed_device(7) : create_reference_device();
  }
};
INSTANTIATE_TEST_SUITE_P(Devices, Worker, testing::Bool(),
                         [](const auto& instance) { return instance.param ? "delayed" : "reference"; });

Graph add_graph() {
  Graph graph;
  const Var a = input(graph, "a", DType::f32, {4});
  const Var b = input(graph, "b", DType::f32, {4});
  output("sum", a + b);
  return graph;
}

// A state that grows by x with every execution.
Graph counter_graph() {
  Graph graph;
  const Var state = input(graph, "state", DType::f32, {4});
  const Var x = input(graph, "x", DType::f32, {4});
  output("state", state + x);
  output("twice", (state + x) * 2.0);
  graph.donate(0, 0);
  return graph;
}

TEST_P(Worker, AnswersNop) {
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  mlring_descriptor d{};
  d.user_data = 42;
  const Answer answer = queue.run(d);
  EXPECT_EQ(answer.status(), MLRING_OK);
  EXPECT_EQ(answer.completion.user_data, 42u);
  EXPECT_LE(answer.completion.submitted, answer.completion.ended);
}

TEST_P(Worker, ExecutesOnTheClientsMemory) {
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = client.load(queue, add_graph());
  const auto a = client.put(Floats{1, 2, 3, 4}), b = client.put(Floats{10, 20, 30, 40}), sum = client.reserve(16);
  mlring_argument out = client.argument(MLRING_OUT, DType::f32, {4}, sum);
  out.rank = 0;
  out.dims[0] = 0;
  const mlring_descriptor d = client.execute(
      program, {client.argument(MLRING_IN, DType::f32, {4}, a), client.argument(MLRING_IN, DType::f32, {4}, b), out});
  const Answer answer = queue.run(d);
  ASSERT_EQ(answer.status(), MLRING_OK) << answer.message;
  EXPECT_EQ(client.get(sum, 4), (Floats{11, 22, 33, 44}));
  EXPECT_EQ(answer.completion.bytes, 48u);
  const mlring_argument& written = client.table(d.argument_offset)[2];
  EXPECT_EQ(written.rank, 1u);
  EXPECT_EQ(written.dims[0], 4u);
  EXPECT_EQ(written.needed, 16u);
}

TEST_P(Worker, KeepsDonatedStateBehindAHandle) {
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = client.load(queue, counter_graph());
  const Answer made = queue.run(descriptor_of(MLRING_OP_ALLOC, 16));
  ASSERT_EQ(made.status(), MLRING_OK) << made.message;
  const auto x = client.put(Floats{1, 2, 3, 4}), twice = client.reserve(16), out = client.reserve(16);
  const mlring_argument state =
      client.behind(made.completion.result, client.argument(MLRING_INOUT, DType::f32, {4}, 0));
  const mlring_descriptor step = client.execute(program, {state, client.argument(MLRING_IN, DType::f32, {4}, x), state,
                                                          client.argument(MLRING_OUT, DType::f32, {4}, twice)});
  for (int i = 0; i < 3; ++i) queue.submit(step);  // ordered: they touch the same handles
  mlring_argument from = state;
  from.direction = MLRING_IN;
  const Answer copied =
      queue.run(client.with_arguments(MLRING_OP_COPY, {from, client.argument(MLRING_OUT, DType::f32, {4}, out)}));
  ASSERT_EQ(copied.status(), MLRING_OK) << copied.message;
  EXPECT_EQ(client.get(out, 4), (Floats{3, 6, 9, 12}));
  EXPECT_EQ(client.get(twice, 4), (Floats{6, 12, 18, 24}));
}

TEST_P(Worker, KeepsDonatedStateInAnArena) {
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = client.load(queue, counter_graph());
  const auto s = client.put(Floats{0, 0, 0, 0}), x = client.put(Floats{1, 2, 3, 4}), twice = client.reserve(16);
  const mlring_argument state = client.argument(MLRING_INOUT, DType::f32, {4}, s);
  const mlring_descriptor step = client.execute(program, {state, client.argument(MLRING_IN, DType::f32, {4}, x), state,
                                                          client.argument(MLRING_OUT, DType::f32, {4}, twice)});
  ASSERT_EQ(queue.run(step).status(), MLRING_OK);
  ASSERT_EQ(queue.run(step).status(), MLRING_OK);
  EXPECT_EQ(client.get(s, 4), (Floats{2, 4, 6, 8}));
}

TEST_P(Worker, AllocatesZeroedMemory) {
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  const Answer made = queue.run(descriptor_of(MLRING_OP_ALLOC, 64));
  ASSERT_EQ(made.status(), MLRING_OK);
  const auto out = client.put(Floats(16, 5.0f));
  const mlring_argument from = client.behind(made.completion.result, client.argument(MLRING_IN, DType::f32, {16}, 0));
  ASSERT_EQ(queue.run(client.with_arguments(MLRING_OP_COPY, {from, client.argument(MLRING_OUT, DType::f32, {16}, out)}))
                .status(),
            MLRING_OK);
  EXPECT_EQ(client.get(out, 16), Floats(16, 0.0f));
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_ALLOC, 0)).status(), MLRING_OK);
}

TEST_P(Worker, MakesAPlanForEachCombinationOfShapes) {
  Graph graph;
  const Var a{&graph, graph.add_input("a", {DType::f32, {kUnknown}}, {"n"})};
  const Var b{&graph, graph.add_input("b", {DType::f32, {kUnknown}}, {"n"})};
  output("sum", a + b);
  TestClient client(device(), {}, {.plans = 2});
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = client.load(queue, graph);
  for (const std::int64_t n : {1, 2, 3, 1, 0, 3}) {
    const Floats values(static_cast<std::size_t>(n), 2.0f);
    const auto x = client.put(values), sum = client.reserve(64);
    const mlring_argument in = client.argument(MLRING_IN, DType::f32, {n}, x);
    const Answer answer =
        queue.run(client.execute(program, {in, in, client.argument(MLRING_OUT, DType::f32, {n}, sum)}));
    ASSERT_EQ(answer.status(), MLRING_OK) << answer.message;
    EXPECT_EQ(client.get(sum, static_cast<std::size_t>(n)), Floats(static_cast<std::size_t>(n), 4.0f));
  }
  const auto x = client.put(Floats{1, 2, 3});
  const Answer refused = queue.run(client.execute(
      program, {client.argument(MLRING_IN, DType::f32, {2}, x), client.argument(MLRING_IN, DType::f32, {3}, x),
                client.argument(MLRING_OUT, DType::f32, {3}, client.reserve(64))}));
  EXPECT_EQ(refused.status(), MLRING_INVALID_ARGUMENT);
  EXPECT_NE(refused.message.find("'n' is 2"), std::string::npos) << refused.message;
}

TEST_P(Worker, SaysHowMuchAnOutputNeeds) {
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = client.load(queue, counter_graph());
  const auto s = client.put(Floats{1, 1, 1, 1}), x = client.put(Floats{1, 2, 3, 4});
  const mlring_argument state = client.argument(MLRING_INOUT, DType::f32, {4}, s);
  mlring_argument small = client.argument(MLRING_OUT, DType::f32, {3}, client.reserve(64));
  const mlring_descriptor d =
      client.execute(program, {state, client.argument(MLRING_IN, DType::f32, {4}, x), state, small});
  const Answer answer = queue.run(d);
  EXPECT_EQ(answer.status(), MLRING_TOO_SMALL);
  EXPECT_EQ(client.table(d.argument_offset)[3].needed, 16u);
  EXPECT_EQ(client.table(d.argument_offset)[3].dims[0], 4u);
  EXPECT_EQ(client.get(s, 4), (Floats{1, 1, 1, 1})) << "nothing was executed";
}

TEST_P(Worker, ReportsAnIndexOutOfRange) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {4});
  const Var i = input(graph, "i", DType::i64, {2});
  output("y", gather(x, i, 0));
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = client.load(queue, graph);
  const auto values = client.put(Floats{1, 2, 3, 4}), y = client.reserve(64);
  const std::vector<std::int64_t> bad{1, 99}, good{1, 2};
  const auto indices = client.put(std::as_bytes(std::span(bad)));
  const mlring_descriptor d = client.execute(
      program, {client.argument(MLRING_IN, DType::f32, {4}, values),
                client.argument(MLRING_IN, DType::i64, {2}, indices), client.argument(MLRING_OUT, DType::f32, {2}, y)});
  EXPECT_EQ(queue.run(d).status(), MLRING_OUT_OF_RANGE);
  EXPECT_EQ(client.get(y, 2), (Floats{2, 0}));
  std::memcpy(client.at(indices), good.data(), sizeof(std::int64_t) * 2);
  EXPECT_EQ(queue.run(d).status(), MLRING_OK) << "the flag belongs to one execution";
}

TEST_P(Worker, RefusesMemoryThatIsWrittenAndUsedTwice) {
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = client.load(queue, add_graph());
  const auto a = client.put(Floats{1, 2, 3, 4, 5, 6, 7, 8});
  const mlring_argument in = client.argument(MLRING_IN, DType::f32, {4}, a);
  const Answer answer =
      queue.run(client.execute(program, {in, in, client.argument(MLRING_OUT, DType::f32, {4}, a + 12)}));
  EXPECT_EQ(answer.status(), MLRING_INVALID_ARGUMENT);
  EXPECT_NE(answer.message.find("overlaps"), std::string::npos) << answer.message;
  EXPECT_EQ(queue.run(client.execute(program, {in, in, client.argument(MLRING_OUT, DType::f32, {4}, a + 16)})).status(),
            MLRING_OK);
}

TEST_P(Worker, RefusesAHandleThatWasFreed) {
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  const mlring_handle first = queue.run(descriptor_of(MLRING_OP_ALLOC, 16)).completion.result;
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_FREE, 0, first)).status(), MLRING_OK);
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_FREE, 0, first)).status(), MLRING_NOT_FOUND);
  const mlring_handle second = queue.run(descriptor_of(MLRING_OP_ALLOC, 16)).completion.result;
  EXPECT_EQ(first.index, second.index);
  EXPECT_NE(first.generation, second.generation);
  const mlring_argument stale = client.behind(first, client.argument(MLRING_IN, DType::f32, {4}, 0));
  const Answer answer = queue.run(
      client.with_arguments(MLRING_OP_COPY, {stale, client.argument(MLRING_OUT, DType::f32, {4}, client.reserve(16))}));
  EXPECT_EQ(answer.status(), MLRING_NOT_FOUND);
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_FREE, 0, {12345, 1})).status(), MLRING_NOT_FOUND);
}

TEST_P(Worker, FreesAProgramBehindItsExecutions) {
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = client.load(queue, add_graph());
  const auto a = client.put(Floats{1, 2, 3, 4}), sum = client.reserve(16);
  const mlring_argument in = client.argument(MLRING_IN, DType::f32, {4}, a);
  const mlring_descriptor d = client.execute(program, {in, in, client.argument(MLRING_OUT, DType::f32, {4}, sum)});
  const auto before = queue.submit(d), freed = queue.submit(descriptor_of(MLRING_OP_FREE, 0, program)),
             behind = queue.submit(d);
  EXPECT_EQ(queue.wait(before).status(), MLRING_OK);
  EXPECT_EQ(queue.wait(freed).status(), MLRING_OK);
  EXPECT_EQ(queue.wait(behind).status(), MLRING_NOT_FOUND);
}

TEST_P(Worker, LimitsTheMemoryOfASession) {
  TestClient client(device(), {}, {.device_bytes = 100});
  TestQueue queue(client.worker, client.session);
  const Answer first = queue.run(descriptor_of(MLRING_OP_ALLOC, 64));
  ASSERT_EQ(first.status(), MLRING_OK);
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_ALLOC, 64)).status(), MLRING_NO_SPACE);
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_FREE, 0, first.completion.result)).status(), MLRING_OK);
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_ALLOC, 64)).status(), MLRING_OK);
}

TEST_P(Worker, LimitsTheMemoryOfAllSessionsOfAUser) {
  TestClient client(device());
  const runtime::SessionLimits hers{.user_bytes = 100, .user = 7}, his{.user_bytes = 100, .user = 8};
  TestSession third(client.worker, his);
  TestQueue of_another(client.worker, third.session);
  {
    TestSession first(client.worker, hers), second(client.worker, hers);
    TestQueue one(client.worker, first.session), two(client.worker, second.session);
    const Answer held = one.run(descriptor_of(MLRING_OP_ALLOC, 64));
    ASSERT_EQ(held.status(), MLRING_OK);
    const Answer refused = two.run(descriptor_of(MLRING_OP_ALLOC, 64));
    EXPECT_EQ(refused.status(), MLRING_NO_SPACE);
    EXPECT_NE(refused.message.find("the user's device memory is used up: 64 of 100 bytes, and 64 more"),
              std::string::npos)
        << refused.message;
    EXPECT_EQ(of_another.run(descriptor_of(MLRING_OP_ALLOC, 64)).status(), MLRING_OK);
    EXPECT_EQ(one.run(descriptor_of(MLRING_OP_FREE, 0, held.completion.result)).status(), MLRING_OK);
    EXPECT_EQ(two.run(descriptor_of(MLRING_OP_ALLOC, 64)).status(), MLRING_OK);
  }
  TestSession again(client.worker, hers);
  TestQueue queue(client.worker, again.session);
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_ALLOC, 100)).status(), MLRING_OK)
      << "what ended sessions held is given back";
}

TEST_P(Worker, RefusesWhatIsNoGraph) {
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  const Floats garbage(64, 3.5f);
  const mlring_argument bytes = client.argument(MLRING_IN, DType::u8, {256}, client.put(garbage));
  const Answer answer = queue.run(client.with_arguments(MLRING_OP_COMPILE, {bytes}));
  EXPECT_EQ(answer.status(), MLRING_CORRUPT) << answer.message;
  EXPECT_EQ(answer.completion.result.generation, 0u);
}

TEST_P(Worker, RemovesAnArenaOnlyWhenNothingUsesIt) {
  TestClient client(device());
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = client.load(queue, add_graph());
  void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const std::uint32_t second = client.worker.add_arena(client.session, memory, 4096);
  const mlring_argument in = client.argument(MLRING_IN, DType::f32, {4}, client.put(Floats{1, 2, 3, 4}));
  mlring_argument out = client.argument(MLRING_OUT, DType::f32, {4}, 64);
  out.arena = second;
  std::vector<std::uint64_t> submitted;
  for (int i = 0; i < 20; ++i) submitted.push_back(queue.submit(client.execute(program, {in, in, out})));
  client.worker.remove_arena(client.session, second);
  munmap(memory, 4096);
  for (const std::uint64_t sequence : submitted) {
    const std::int32_t status = queue.wait(sequence).status();
    EXPECT_TRUE(status == MLRING_OK || status == MLRING_NOT_FOUND) << status;
  }
  EXPECT_EQ(queue.run(client.execute(program, {in, in, out})).status(), MLRING_NOT_FOUND);
  EXPECT_THROW(client.worker.remove_arena(client.session, second), Error);
}

}  // namespace
}  // namespace ml
