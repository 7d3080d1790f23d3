// A worker with nothing to do costs nothing: its rings are parked and its threads sleep.
#include <gtest/gtest.h>
#include <poll.h>
#include <time.h>

#include <atomic>
#include <memory>

#include "engine/runtime/devices.h"
#include "tests/unit/ring/ring_pair.h"
#include "tests/unit/runtime/client.h"

namespace ml {
namespace {

using namespace test;

constexpr std::uint64_t kMillisecond = 1'000'000;

std::uint64_t process_cpu_time() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

void let_pass(int milliseconds) { poll(nullptr, 0, milliseconds); }

TEST(Idle, UsesNoCpu) {
  TestClient client(runtime::create_device("cpu", 2));
  TestQueue first(client.worker, client.session), second(client.worker, client.session);
  Graph graph;
  output("y", exp(input(graph, "x", DType::f32, {4})));
  const mlring_handle program = client.load(first, graph);
  const mlring_descriptor execute =
      client.execute(program, {client.argument(MLRING_IN, DType::f32, {4}, client.reserve(16)),
                               client.argument(MLRING_OUT, DType::f32, {4}, client.reserve(16))});
  ASSERT_EQ(first.run(execute).status(), MLRING_OK);
  ASSERT_EQ(second.run(execute).status(), MLRING_OK);

  for (TestQueue* queue : {&first, &second}) {
    HostileView view(queue->memory_fd(), 64);
    while (__atomic_load_n(&view.completion().parked, __ATOMIC_ACQUIRE) % 2 == 0) let_pass(1);
  }
  let_pass(20);  // from parking to sleeping
  const std::uint64_t before = process_cpu_time();
  let_pass(400);
  EXPECT_LT(process_cpu_time() - before, 4 * kMillisecond) << "1% of what passed";
  EXPECT_EQ(first.run(execute).status(), MLRING_OK) << "the doorbell wakes it";
}

// A device with some work for when nothing waits.
class BusyDevice final : public Device {
 public:
  explicit BusyDevice(std::atomic<int>& asked) : asked_(asked), inner_(create_reference_device()) {}
  std::string_view name() const override { return inner_->name(); }
  const DeviceTraits& traits() const override { return inner_->traits(); }
  std::string fingerprint() const override { return inner_->fingerprint(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes) override { return inner_->allocate(bytes); }
  std::unique_ptr<Buffer> wrap(void* memory, std::size_t bytes) override { return inner_->wrap(memory, bytes); }
  std::unique_ptr<Stream> create_stream() override { return inner_->create_stream(); }
  std::span<const Implementation> implementations() const override { return inner_->implementations(); }
  bool work_while_idle() override { return ++asked_ % 4 != 0; }

 private:
  std::atomic<int>& asked_;
  std::unique_ptr<Device> inner_;
};

TEST(Idle, IsTimeForTheDevicesOwnWorkBehindARun) {
  std::atomic<int> asked{0};
  TestClient client(std::make_unique<BusyDevice>(asked));
  TestQueue queue(client.worker, client.session);
  Graph graph;
  output("y", exp(input(graph, "x", DType::f32, {4})));
  const mlring_handle program = client.load(queue, graph);
  EXPECT_EQ(asked, 0) << "nothing has run";
  for (int run = 1; run <= 2; ++run) {
    const mlring_descriptor execute =
        client.execute(program, {client.argument(MLRING_IN, DType::f32, {4}, client.reserve(16)),
                                 client.argument(MLRING_OUT, DType::f32, {4}, client.reserve(16))});
    ASSERT_EQ(queue.run(execute).status(), MLRING_OK);
    for (int i = 0; i < 5000 && asked < 4 * run; ++i) let_pass(1);
    let_pass(20);
    EXPECT_EQ(asked, 4 * run) << "until it answers that there is nothing left, then not again";
  }
}

}  // namespace
}  // namespace ml
