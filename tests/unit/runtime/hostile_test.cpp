// A client that breaks every rule: its queue faults or its descriptor fails, and a second queue never notices.
#include <gtest/gtest.h>

#include <thread>

#include "engine/runtime/clock.h"
#include "tests/unit/ring/ring_pair.h"
#include "tests/unit/runtime/client.h"
#include "tests/unit/runtime/hostile_process.h"

namespace ml {
namespace {

using namespace test;
using Floats = std::vector<float>;

constexpr std::uint32_t kDepth = 64;

// A session with a program, its arguments and a queue.
struct Side {
  explicit Side(runtime::Worker& worker)
      : client(worker, {.device_bytes = 16u << 20, .graph_bytes = 1u << 20}), queue(worker, client.session, kDepth) {
    Graph graph;
    const Var x = input(graph, "x", DType::f32, {8});
    const Var i = input(graph, "i", DType::i64, {8});
    output("y", gather(x, i, 0) * 2.0);
    program = client.load(queue, graph);
    const std::vector<std::int64_t> indices{7, 6, 5, 4, 3, 2, 1, 0};
    x_at = client.put(Floats{0, 1, 2, 3, 4, 5, 6, 7});
    i_at = client.put(std::as_bytes(std::span(indices)));
    y_at = client.reserve(32);
    execute = client.execute(program, arguments());
  }
  std::vector<mlring_argument> arguments() const {
    return {client.argument(MLRING_IN, DType::f32, {8}, x_at), client.argument(MLRING_IN, DType::i64, {8}, i_at),
            client.argument(MLRING_OUT, DType::f32, {8}, y_at)};
  }

  TestSession client;
  TestQueue queue;
  mlring_handle program{};
  mlring_descriptor execute{};
  std::uint64_t x_at = 0, i_at = 0, y_at = 0;
};

// A worker with a good and a bad client.
class Hostile : public testing::Test {
 protected:
  // The good client gets its answers, with the right numbers in them.
  ~Hostile() override {
    const Answer answer = good.run(theirs.execute);
    EXPECT_EQ(answer.status(), MLRING_OK) << answer.message;
    EXPECT_EQ(theirs.client.get(theirs.y_at, 8), (Floats{14, 12, 10, 8, 6, 4, 2, 0}));
  }

  static void expect_fault(TestQueue& queue, std::uint32_t fault) {
    while (queue.ring.state() == transport::RingState::active) std::this_thread::yield();
    EXPECT_EQ(queue.ring.state(), transport::RingState::faulted);
    EXPECT_EQ(queue.ring.fault(), fault);
  }

  runtime::Worker worker{create_reference_device()};
  Side theirs{worker};
  TestQueue& good = theirs.queue;
  Side mine{worker};
  TestSession& client = mine.client;
  TestQueue& bad = mine.queue;
  const mlring_descriptor& execute = mine.execute;
  HostileView view{bad.memory_fd(), kDepth};
};

TEST_F(Hostile, FaultsOnAnImpossibleTail) {
  bad.run({});
  write_shared(&view.submission().tail, view.submission().tail + kDepth + 1);
  bad.knock();
  expect_fault(bad, MLRING_FAULT_SUBMISSION_TAIL);
  EXPECT_FALSE(bad.ring.submit(mlring_descriptor{})) << "for good";
}

TEST_F(Hostile, FaultsOnATailThatMovesBack) {
  for (int i = 0; i < 10; ++i) bad.run({});
  write_shared(&view.submission().tail, view.submission().tail - 3);
  bad.knock();
  expect_fault(bad, MLRING_FAULT_SUBMISSION_TAIL);
}

TEST_F(Hostile, FaultsOnAnImpossibleCompletionHead) {
  bad.run({});
  write_shared(&view.submission().completion_head, view.submission().completion_head + 1000);
  // The worker looks when it runs out of credits: twice the depth is more than there are.
  for (std::uint32_t i = 0; i < 2 * kDepth && bad.ring.state() == transport::RingState::active; ++i) {
    transport::Completion completion;
    if (!bad.ring.submit(mlring_descriptor{})) break;
    while (!bad.ring.poll(completion) && bad.ring.state() == transport::RingState::active) std::this_thread::yield();
    write_shared(&view.submission().completion_head, view.submission().completion_head + 1000);
  }
  bad.knock();
  expect_fault(bad, MLRING_FAULT_COMPLETION_HEAD);
}

TEST_F(Hostile, StopsWhatAFaultedQueueHadUnderWay) {
  TestQueue idle(worker, client.session);
  const auto waiting = bad.submit(descriptor_of(MLRING_OP_WAIT, idle.ring.next_sequence(), idle.handle));
  bad.submit(after(execute));
  write_shared(&view.submission().tail, view.submission().tail + kDepth + 1);
  bad.knock();
  expect_fault(bad, MLRING_FAULT_SUBMISSION_TAIL);
  EXPECT_THROW(bad.wait(waiting), std::exception);
  TestQueue third(worker, client.session);
  EXPECT_EQ(third.run(descriptor_of(MLRING_OP_WAIT, 0, bad.handle)).status(), MLRING_NOT_FOUND);
}

struct BadArgument {
  const char* name;
  void (*spoil)(mlring_descriptor& d, mlring_argument* table);
  std::int32_t status;
};
const BadArgument kBadArguments[] = {
    {"no such arena for the table", [](auto& d, auto*) { d.argument_arena = 99; }, MLRING_NOT_FOUND},
    {"a table beyond the arena", [](auto& d, auto*) { d.argument_offset = ~7ull; }, MLRING_INVALID_ARGUMENT},
    {"a table that crosses the end", [](auto& d, auto*) { d.argument_offset = TestClient::kArenaBytes - 128; },
     MLRING_INVALID_ARGUMENT},
    {"a crooked table", [](auto& d, auto*) { d.argument_offset += 4; }, MLRING_INVALID_ARGUMENT},
    {"too many records", [](auto& d, auto*) { d.argument_count = MLRING_ARGUMENTS_MAX + 1; }, MLRING_INVALID_ARGUMENT},
    {"more records than the program takes", [](auto& d, auto*) { d.argument_count = 4; }, MLRING_INVALID_ARGUMENT},
    {"fewer records", [](auto& d, auto*) { d.argument_count = 2; }, MLRING_INVALID_ARGUMENT},
    {"an unknown opcode", [](auto& d, auto*) { d.opcode = 77; }, MLRING_INVALID_ARGUMENT},
    {"unknown flags", [](auto& d, auto*) { d.flags = 0xff00; }, MLRING_INVALID_ARGUMENT},
    {"a stale program", [](auto& d, auto*) { d.handle.generation += 2; }, MLRING_NOT_FOUND},
    {"a program beyond the table", [](auto& d, auto*) { d.handle.index = 1u << 30; }, MLRING_NOT_FOUND},
    {"an unknown dtype", [](auto&, auto* t) { t[0].dtype = 200; }, MLRING_INVALID_ARGUMENT},
    {"another dtype", [](auto&, auto* t) { t[0].dtype = MLRING_I32; }, MLRING_INVALID_ARGUMENT},
    {"a huge rank", [](auto&, auto* t) { t[0].rank = 1u << 31; }, MLRING_INVALID_ARGUMENT},
    {"dims that overflow",
     [](auto&, auto* t) {
       t[0].rank = 2;
       t[0].dims[0] = t[0].dims[1] = 1ull << 40;
     },
     MLRING_INVALID_ARGUMENT},
    {"other dims", [](auto&, auto* t) { t[0].dims[0] = 7; }, MLRING_INVALID_ARGUMENT},
    {"a capacity below the dims", [](auto&, auto* t) { t[0].capacity = 31; }, MLRING_INVALID_ARGUMENT},
    {"a capacity beyond the arena", [](auto&, auto* t) { t[0].capacity = ~0ull; }, MLRING_INVALID_ARGUMENT},
    {"an offset beyond the arena", [](auto&, auto* t) { t[0].offset = ~3ull; }, MLRING_INVALID_ARGUMENT},
    {"a crooked offset", [](auto&, auto* t) { t[0].offset += 2; }, MLRING_INVALID_ARGUMENT},
    {"no such arena", [](auto&, auto* t) { t[0].arena = 1u << 20; }, MLRING_NOT_FOUND},
    {"an arena and a handle",
     [](auto&, auto* t) {
       t[0].handle = {1, 1};
     },
     MLRING_INVALID_ARGUMENT},
    {"neither", [](auto&, auto* t) { t[0].arena = 0; }, MLRING_INVALID_ARGUMENT},
    {"a handle that never was",
     [](auto&, auto* t) {
       t[0].arena = 0;
       t[0].handle = {3, 0x7fffffff};
     },
     MLRING_NOT_FOUND},
    {"the wrong direction", [](auto&, auto* t) { t[0].direction = MLRING_INOUT; }, MLRING_INVALID_ARGUMENT},
    {"no direction", [](auto&, auto* t) { t[2].direction = 0; }, MLRING_INVALID_ARGUMENT},
    {"an output too small", [](auto&, auto* t) { t[2].capacity = 0; }, MLRING_TOO_SMALL},
    {"an output over its input", [](auto&, auto* t) { t[2].offset = t[0].offset; }, MLRING_INVALID_ARGUMENT},
    {"something in the reserve", [](auto&, auto* t) { t[1].reserved[1] = 1; }, MLRING_INVALID_ARGUMENT},
};

TEST_F(Hostile, RefusesWhatCannotBe) {
  for (const BadArgument& wrong : kBadArguments) {
    mlring_descriptor d = client.execute(mine.program, mine.arguments());
    wrong.spoil(d, client.table(d.argument_offset));
    const Answer answer = bad.run(d);
    EXPECT_EQ(answer.status(), wrong.status) << wrong.name << ": " << answer.message;
    EXPECT_FALSE(answer.message.empty()) << wrong.name;
  }
  EXPECT_EQ(bad.run(execute).status(), MLRING_OK) << "the queue goes on";
}

TEST_F(Hostile, AnswersEachOfManyDescriptorsWithManyArguments) {
  mlring_descriptor wide = client.with_arguments(
      MLRING_OP_EXECUTE, std::vector<mlring_argument>(300, client.argument(MLRING_IN, DType::f32, {8}, mine.x_at)));
  wide.handle = mine.program;
  const std::vector<mlring_descriptor> batch(kDepth, wide);
  const std::uint64_t first = bad.ring.next_sequence();
  ASSERT_EQ(bad.ring.submit(batch), kDepth);
  for (std::uint64_t i = 0; i < kDepth; ++i) EXPECT_EQ(bad.wait(first + i).status(), MLRING_INVALID_ARGUMENT);
  EXPECT_EQ(bad.run(execute).status(), MLRING_OK) << "the queue goes on";
}

TEST_F(Hostile, SurvivesArgumentsThatAreRewrittenWhileTheyAreRead) {
  auto* words = reinterpret_cast<std::uint32_t*>(client.table(execute.argument_offset));
  const std::vector<std::uint32_t> right(words, words + 3 * sizeof(mlring_argument) / 4);
  HostileProcess writer(1, [&](auto& random) {
    const std::size_t at = random() % right.size();
    const std::uint32_t wrong = random() % 2 == 0 ? right[at] + random() % 64 : static_cast<std::uint32_t>(random());
    write_shared(&words[at], random() % 4 == 0 ? wrong : right[at]);
  });
  for (int i = 0; i < 300; ++i) {
    const std::int32_t status = bad.run(execute).status();
    EXPECT_TRUE(status == MLRING_OK || status == MLRING_INVALID_ARGUMENT || status == MLRING_NOT_FOUND ||
                status == MLRING_TOO_SMALL || status == MLRING_OUT_OF_RANGE)
        << status;
  }
}

TEST_F(Hostile, SurvivesIndicesThatAreRewrittenWhileTheyAreUsed) {
  auto* indices = reinterpret_cast<std::int64_t*>(client.at(mine.i_at));
  HostileProcess writer(2, [&](auto& random) {
    const std::int64_t far = static_cast<std::int64_t>(random()) << 31;
    write_shared(&indices[random() % 8], random() % 2 == 0 ? far : static_cast<std::int64_t>(random() % 8));
  });
  for (int i = 0; i < 300; ++i) {
    const std::int32_t status = bad.run(execute).status();
    EXPECT_TRUE(status == MLRING_OK || status == MLRING_OUT_OF_RANGE) << status;
    for (const float value : client.get(mine.y_at, 8)) EXPECT_TRUE(value >= 0 && value <= 14) << value;
  }
}

TEST_F(Hostile, SurvivesAGraphThatIsRewrittenWhileItIsCompiled) {
  Graph graph;
  output("y", exp(input(graph, "x", DType::f32, {8})) + 1.0);
  const mlring_descriptor compile = client.compile(graph);
  const mlring_argument& record = client.table(compile.argument_offset)[0];
  auto* bytes = reinterpret_cast<std::uint8_t*>(client.at(record.offset));
  const std::vector<std::uint8_t> right(bytes, bytes + record.dims[0]);
  HostileProcess writer(3, [&](auto& random) {
    const std::size_t at = random() % right.size();
    write_shared(&bytes[at], random() % 3 == 0 ? static_cast<std::uint8_t>(random()) : right[at]);
  });
  for (int i = 0; i < 100; ++i) {
    const Answer answer = bad.run(compile);
    if (answer.status() == MLRING_OK) bad.run(descriptor_of(MLRING_OP_FREE, 0, answer.completion.result));
    EXPECT_NE(answer.status(), MLRING_INTERNAL) << answer.message;
  }
}

TEST_F(Hostile, KeepsNobodyWaitingForALoopWithoutEnd) {
  const auto running = bad.submit(loop_without_end(client, bad));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(good.run(theirs.execute).status(), MLRING_OK);
  EXPECT_FALSE(bad.answered(running));
  EXPECT_EQ(bad.run(descriptor_of(MLRING_OP_CANCEL, running)).completion.bytes, 1u);
  EXPECT_EQ(bad.wait(running).status(), MLRING_CANCELLED);
}

TEST_F(Hostile, RefusesAPlanThatNeedsTooMuch) {
  TestSession small(worker, {.scratch_bytes = 1000});
  TestQueue queue(worker, small.session);
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {1});
  output("y", reduce_sum(sort(broadcast_to(x, {1000}), 0).first));
  const Answer answer = queue.run(small.compile(graph));
  EXPECT_EQ(answer.status(), MLRING_NO_SPACE) << answer.message;
}

TEST_F(Hostile, SurvivesDescriptorsThatAreRewrittenWhileTheyAreTaken) {
  HostileProcess writer(4, [&](auto& random) {
    auto* words = reinterpret_cast<std::uint32_t*>(&view.descriptor(static_cast<std::uint32_t>(random())));
    write_shared(&words[random() % 16], static_cast<std::uint32_t>(random() % 3 == 0 ? random() : random() % 9));
  });
  // Some become WAITs that nobody ends, so not every one is answered: what counts is that the worker goes on.
  for (int i = 0; i < 500; ++i) {
    transport::Completion completion;
    bad.ring.submit(execute);
    while (bad.ring.poll(completion)) {
    }
    if (i % 10 == 0) {
      EXPECT_EQ(good.run({}).status(), MLRING_OK);
    }
  }
}

TEST_F(Hostile, SurvivesRandomDescriptors) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 3000 && bad.ring.state() == transport::RingState::active; ++i) {
    mlring_descriptor d = execute;
    auto* words = reinterpret_cast<std::uint32_t*>(&d);
    d.opcode = static_cast<std::uint32_t>(random() % 9);
    for (int k = 0; k < 3; ++k)
      words[random() % 16] = static_cast<std::uint32_t>(random() % 2 ? random() : random() % 5);
    d.deadline = runtime::monotonic_now() + 1'000'000;  // so that no WAIT stays
    transport::Completion completion;
    bad.ring.submit(d);
    while (bad.ring.poll(completion)) {
    }
  }
}

TEST_F(Hostile, SurvivesIndicesThatJump) {
  HostileProcess writer(6, [&](auto& random) {
    if (random() % 1000 == 0) write_shared(&view.submission().tail, static_cast<std::uint32_t>(random()));
    write_shared(&view.submission().needs_wake, static_cast<std::uint32_t>(random()));
    write_shared(&view.submission().wake_at, static_cast<std::uint32_t>(random()));
  });
  while (bad.ring.state() == transport::RingState::active) {
    transport::Completion completion;
    bad.ring.submit(mlring_descriptor{});
    while (bad.ring.poll(completion)) {
    }
    bad.knock();
    EXPECT_EQ(good.run({}).status(), MLRING_OK);
  }
  EXPECT_EQ(bad.ring.state(), transport::RingState::faulted);
}

}  // namespace
}  // namespace ml
