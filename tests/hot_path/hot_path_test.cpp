// While both sides are awake, neither the client's thread nor the ring thread calls the system or allocates: for NOP,
// and for EXECUTE of a plan that one thread runs.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

#include "engine/runtime/devices.h"
#include "tests/hot_path/counted_malloc.h"
#include "tests/hot_path/round_trips.h"
#include "tests/hot_path/traced_child.h"
#include "tests/unit/runtime/client.h"

namespace ml {
namespace {

using namespace test;

void expect_nothing(const Counts& counts) {
  ASSERT_EQ(counts.error, "");
  const char* names[kThreads] = {"client", "ring"};
  for (std::size_t i = 0; i < kThreads; ++i) {
    EXPECT_EQ(counts.system_calls[i], 0u) << names[i] << " thread";
    EXPECT_EQ(counts.allocations[i], 0u) << names[i] << " thread";
  }
}

TEST(HotPath, NopTakesNeitherSystemCallNorAllocation) {
  expect_nothing(run_traced([](Phase& phase) {
    TestClient client(create_reference_device(), kAwake);
    TestQueue queue(client.worker, client.session);
    measure(phase, queue.ring, {});
  }));
}

class Execute : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Devices, Execute, testing::Values("cpu", "reference"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST_P(Execute, TakesNeitherSystemCallNorAllocation) {
  expect_nothing(run_traced([](Phase& phase) {
    TestClient client(runtime::create_device(GetParam(), 1), kAwake);
    TestQueue queue(client.worker, client.session);
    Graph graph;
    const Var state = input(graph, "state", DType::f32, {64});
    const Var x = input(graph, "x", DType::f32, {64});
    output("state", state + x);
    output("y", exp(x) * 2.0);
    graph.donate(0, 0);
    const mlring_handle program = client.load(queue, graph);
    const mlring_argument held = client.argument(MLRING_INOUT, DType::f32, {64}, client.reserve(256));
    measure(phase, queue.ring,
            client.execute(program, {held, client.argument(MLRING_IN, DType::f32, {64}, client.reserve(256)), held,
                                     client.argument(MLRING_OUT, DType::f32, {64}, client.reserve(256))}));
  }));
}

// The counting itself: a phase that does call the system and allocate is seen.
TEST(HotPath, CountsWhatIsThere) {
  const Counts counts = run_traced([](Phase& phase) {
    TestClient client(create_reference_device(), kAwake);
    phase.threads[0] = static_cast<pid_t>(syscall(SYS_gettid));
    phase.threads[1] = thread_named("ml-ring");
    phase.measure([&phase] {
      phase.allocations[0] = allocations_of(phase.threads[0]);
      for (int i = 0; i < 3; ++i) syscall(SYS_getppid);
      std::string text(static_cast<std::size_t>(phase.threads[0]), 'x');
      asm volatile("" : : "r"(text.data()) : "memory");
      phase.allocations[0] = allocations_of(phase.threads[0]) - phase.allocations[0];
    });
  });
  ASSERT_EQ(counts.error, "");
  EXPECT_EQ(counts.system_calls[0], 6u);
  EXPECT_GE(counts.allocations[0], 1u);
}

}  // namespace
}  // namespace ml
