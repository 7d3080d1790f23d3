// What sessions may take of a worker: memory, compilation time, threads; and how others see whose work is being done.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

#include "engine/runtime/clock.h"
#include "tests/unit/runtime/client.h"
#include "tests/unit/runtime/gate_device.h"

namespace ml {
namespace {

using namespace test;

// A device that holds up the first compilation after hold_next() until the gate opens.
class SlowCompiler final : public Device {
 public:
  explicit SlowCompiler(std::shared_ptr<Gate> gate) : gate_(std::move(gate)), inner_(create_reference_device()) {}
  void hold_next() { hold_ = true; }
  std::string_view name() const override { return inner_->name(); }
  const DeviceTraits& traits() const override { return inner_->traits(); }
  std::string fingerprint() const override { return inner_->fingerprint(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes) override { return inner_->allocate(bytes); }
  std::unique_ptr<Buffer> wrap(void* memory, std::size_t bytes) override { return inner_->wrap(memory, bytes); }
  std::unique_ptr<Stream> create_stream() override { return inner_->create_stream(); }
  std::span<const Implementation> implementations() const override {
    if (hold_.exchange(false)) gate_->pass();
    return inner_->implementations();
  }

 private:
  std::shared_ptr<Gate> gate_;
  std::unique_ptr<Device> inner_;
  mutable std::atomic<bool> hold_{false};
};

Graph some_graph() {
  Graph graph;
  output("y", exp(input(graph, "x", DType::f32, {4})) + 1.0);
  return graph;
}

class CompileLimits : public testing::Test {
 protected:
  ~CompileLimits() override { gate->open(); }
  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  std::array<std::uint64_t, 64> running{};
  SlowCompiler* device = nullptr;
  runtime::Worker worker{[this] {
                           auto made = std::make_unique<SlowCompiler>(gate);
                           device = made.get();
                           return made;
                         }(),
                         {.running = running}};
};

TEST_F(CompileLimits, EndACompilationThatTakesTooLong) {
  TestSession client(worker, {.compile_ms = 5});
  TestQueue queue(worker, client.session);
  device->hold_next();
  const auto slow = queue.submit(client.compile(some_graph()));
  // A busy machine may take that long before anything is compiled.
  while (!gate->somebody_waits() && !queue.answered(slow)) std::this_thread::yield();
  const std::uint64_t until = runtime::monotonic_now() + 5'000'000;
  while (runtime::monotonic_now() <= until) std::this_thread::yield();
  gate->open();
  const Answer answer = queue.wait(slow);
  EXPECT_EQ(answer.status(), MLRING_TIMEOUT);
  EXPECT_NE(answer.message.find("longer than 5 ms"), std::string::npos) << answer.message;
  EXPECT_GE(runtime::Worker::use_of(client.session).compile_ns, 5'000'000u);
}

TEST_F(CompileLimits, KeepOtherUsersFromWaitingForOnesSlowCompilation) {
  TestSession slow(worker, {.user = 1}), other(worker, {.user = 2});
  TestQueue slow_queue(worker, slow.session), other_queue(worker, other.session);
  device->hold_next();
  const auto held = slow_queue.submit(slow.compile(some_graph()));
  gate->wait_for_arrival();
  const auto second = slow_queue.submit(slow.compile(some_graph()));
  EXPECT_EQ(other_queue.run(other.compile(some_graph())).status(), MLRING_OK);
  EXPECT_FALSE(slow_queue.answered(second)) << "the user has one thread already";
  gate->open();
  EXPECT_EQ(slow_queue.wait(held).status(), MLRING_OK);
  EXPECT_EQ(slow_queue.wait(second).status(), MLRING_OK);
}

TEST_F(CompileLimits, LetWhatWaitsForACompilerBeCancelled) {
  TestSession client(worker);
  TestQueue queue(worker, client.session);
  device->hold_next();
  const auto held = queue.submit(client.compile(some_graph()));
  gate->wait_for_arrival();
  const auto waiting = queue.submit(client.compile(some_graph()));
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_CANCEL, waiting)).completion.bytes, 1u);
  EXPECT_EQ(queue.wait(waiting).status(), MLRING_CANCELLED);
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_CANCEL, held)).completion.bytes, 1u);
  gate->open();
  EXPECT_EQ(queue.wait(held).status(), MLRING_CANCELLED);
}

TEST_F(CompileLimits, AreOfASessionThatIsKnown) {
  TestSession client(worker, {.number = 77});
  TestQueue queue(worker, client.session);
  device->hold_next();
  const auto held = queue.submit(client.compile(some_graph()));
  gate->wait_for_arrival();
  EXPECT_EQ(__atomic_load_n(&running.back(), __ATOMIC_SEQ_CST), 77u);
  gate->open();
  EXPECT_EQ(queue.wait(held).status(), MLRING_OK);
  while (__atomic_load_n(&running.back(), __ATOMIC_SEQ_CST) != 0) std::this_thread::yield();
}

TEST(RunningTable, SaysForWhomAnExecutorWorks) {
  const std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  std::array<std::uint64_t, 64> running{};
  runtime::Worker worker(std::make_unique<GateDevice>(gate), {.running = running});
  TestSession client(worker, {.number = 42});
  TestQueue queue(worker, client.session);
  const auto slow = queue.submit(descriptor_of(MLRING_OP_ALLOC, GateDevice::kGated));
  gate->wait_for_arrival();
  EXPECT_EQ(__atomic_load_n(running.data(), __ATOMIC_SEQ_CST), 42u);
  gate->open();
  EXPECT_EQ(queue.wait(slow).status(), MLRING_OK);
  EXPECT_EQ(__atomic_load_n(running.data(), __ATOMIC_SEQ_CST), 0u);
}

TEST(MemoryBudget, IsSharedByAllSessions) {
  runtime::Worker worker(create_reference_device(), {.memory_bytes = 100});
  TestSession one(worker);
  TestQueue first(worker, one.session);
  const Answer made = first.run(descriptor_of(MLRING_OP_ALLOC, 64));
  ASSERT_EQ(made.status(), MLRING_OK);
  {
    TestSession two(worker);
    TestQueue second(worker, two.session);
    const Answer refused = second.run(descriptor_of(MLRING_OP_ALLOC, 64));
    EXPECT_EQ(refused.status(), MLRING_NO_SPACE);
    EXPECT_NE(refused.message.find("64 of 100 bytes, and 64 more"), std::string::npos) << refused.message;
    EXPECT_EQ(second.run(descriptor_of(MLRING_OP_ALLOC, 36)).status(), MLRING_OK);
    EXPECT_EQ(worker.memory()->used(), 100u);
  }
  EXPECT_EQ(worker.memory()->used(), 64u) << "the session's went with it";
  EXPECT_EQ(first.run(descriptor_of(MLRING_OP_FREE, 0, made.completion.result)).status(), MLRING_OK);
  EXPECT_EQ(worker.memory()->used(), 0u);
  EXPECT_EQ(first.run(descriptor_of(MLRING_OP_ALLOC, 100)).status(), MLRING_OK);
}

TEST(MemoryBudget, HasRoomForIntermediateValuesOrRefusesTheExecution) {
  runtime::Worker worker(create_reference_device(), {.memory_bytes = 10'000});
  TestSession client(worker);
  TestQueue queue(worker, client.session);
  const auto sorted = [](std::int64_t n) {
    Graph graph;
    const Var x = input(graph, "x", DType::f32, {1});
    output("y", reduce_sum(sort(broadcast_to(x, {n}), 0).first));
    return graph;
  };
  const auto run = [&](const Graph& graph) {
    const mlring_handle program = client.load(queue, graph);
    return queue.run(client.execute(program, {client.argument(MLRING_IN, DType::f32, {1}, client.reserve(4)),
                                              client.argument(MLRING_OUT, DType::f32, {}, client.reserve(4))}));
  };
  EXPECT_EQ(run(sorted(100)).status(), MLRING_OK);
  const std::uint64_t used = worker.memory()->used_for(runtime::MemoryBudget::Purpose::scratch);
  EXPECT_GT(used, 0u);
  const Answer refused = run(sorted(10'000));
  EXPECT_EQ(refused.status(), MLRING_NO_SPACE);
  EXPECT_NE(refused.message.find("of 10000 bytes"), std::string::npos) << refused.message;
  EXPECT_EQ(run(sorted(100)).status(), MLRING_OK) << "the others go on";
}

TEST(MemoryBudget, CountsPackedWeights) {
  const auto memory = std::make_shared<runtime::MemoryBudget>(1u << 20);
  const auto tight = std::make_shared<runtime::MemoryBudget>(100);
  const std::unique_ptr<Device> device = create_cpu_device(1);
  Graph graph;
  const std::vector<float> weights(64 * 64, 0.5f);
  const Var w{&graph, graph.add_constant(make_constant(DType::f32, {64, 64}, std::as_bytes(std::span(weights))))};
  output("y", matmul(input(graph, "x", DType::f32, {8, 64}), w));
  {
    const runtime::Program program(graph, *device, {.memory = memory});
    EXPECT_EQ(memory->used_for(runtime::MemoryBudget::Purpose::programs), program.device_bytes());
    EXPECT_GE(program.device_bytes(), weights.size() * sizeof(float));
  }
  EXPECT_EQ(memory->used(), 0u);
  EXPECT_THROW(runtime::Program(graph, *device, {.memory = tight}), Error);
  EXPECT_EQ(tight->used(), 0u);
}

}  // namespace
}  // namespace ml
