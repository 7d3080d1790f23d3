// What a worker does for queues that the kernel owns, with somebody else in the kernel's place: doorbells and ends come
// through the worker's event source, device memory is told to a ledger, and the pages say since when something runs.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <mutex>
#include <vector>

#include "engine/runtime/clock.h"
#include "engine/runtime/event_source.h"
#include "engine/runtime/ring_memory.h"
#include "libmlclient/transport/ring_mapping.h"
#include "tests/unit/runtime/client.h"
#include "tests/unit/runtime/gate_device.h"

namespace ml {
namespace {

using namespace test;

// Doorbells of all queues behind one fd, told once each.
class FakeKernel final : public runtime::EventSource {
 public:
  FakeKernel() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~FakeKernel() override { close(fd_); }
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;

  int fd() const override { return fd_; }
  bool take(std::uint64_t now) override {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(fd_, &count, sizeof count);
    const std::lock_guard lock(mutex_);
    if (rung_ && listener_ != nullptr) listener_->unpark(now);
    if (ended_ && listener_ != nullptr) listener_->end(MLRING_STATE_CLOSED);
    rung_ = ended_ = false;
    ++taken;
    last = stopped_;
    return !stopped_;
  }
  void listen(runtime::Queue* queue) {
    const std::lock_guard lock(mutex_);
    listener_ = queue;
  }
  void tell(bool FakeKernel::*what) {
    {
      const std::lock_guard lock(mutex_);
      this->*what = true;
    }
    const std::uint64_t one = 1;
    ASSERT_EQ(write(fd_, &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  void ring() { tell(&FakeKernel::rung_); }
  void end() { tell(&FakeKernel::ended_); }
  void stop() { tell(&FakeKernel::stopped_); }

  std::atomic<int> taken{0};
  std::atomic<bool> last{false};  // it has said that nothing more will come

 private:
  int fd_;
  std::mutex mutex_;
  runtime::Queue* listener_ = nullptr;
  bool rung_ = false, ended_ = false, stopped_ = false;
};

// Ring memory whose eventfds are the kernel's affair.
class OwnedMemory final : public runtime::QueueMemory, private runtime::RingOwner {
 public:
  OwnedMemory(FakeKernel& kernel, runtime::RingMemory& memory, std::atomic<int>& notices)
      : kernel_(kernel), memory_(memory), notices_(notices) {}
  runtime::WorkerPages worker_pages() const override { return memory_.worker_pages(); }
  int doorbell_fd() const override { return -1; }
  int wake_fd() const override { return -1; }
  std::uint32_t depth() const override { return memory_.depth(); }
  bool foreign() const override { return false; }
  runtime::RingOwner* owner() override { return this; }
  void heard_by(runtime::Queue* queue) override { kernel_.listen(queue); }
  void set_state(std::uint32_t state) override { memory_.set_state(state); }

 private:
  void notify(bool wake) override {
    ++notices_;
    const std::uint64_t one = 1;
    if (wake) {
      ASSERT_EQ(write(memory_.wake_fd(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    }
  }
  FakeKernel& kernel_;
  runtime::RingMemory& memory_;
  std::atomic<int>& notices_;
};

class OwnedQueue : public testing::Test {
 protected:
  ~OwnedQueue() override { gate->open(); }

  static constexpr std::uint32_t kDepth = 8;
  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  FakeKernel kernel;
  std::atomic<int> notices{0};
  runtime::RingMemory memory{kDepth};
  transport::RingMapping mapping{memory.memory_fd(), kDepth};
  // Nobody listens there: the kernel hears this doorbell.
  transport::ClientRing ring{mapping.pages(), memory.doorbell_fd(), memory.wake_fd()};
  runtime::Worker worker{std::make_unique<GateDevice>(gate), {.park = 0, .events = &kernel}};
  runtime::Session& session = worker.create_session();
  runtime::Queue& queue = worker.attach_queue(session, std::make_unique<OwnedMemory>(kernel, memory, notices));

  bool parked() const { return (MLRING_LOAD(&mapping.pages().completion->parked) & 1) != 0; }
  void answer() {
    transport::Completion completion{};
    while (!ring.poll(completion)) ASSERT_TRUE(ring.wait());
    EXPECT_EQ(completion.entry.status, MLRING_OK);
  }
  std::uint64_t running_since() const { return MLRING_LOAD(&mapping.pages().completion->running_since); }
};

TEST_F(OwnedQueue, IsWokenByAnEvent) {
  for (int i = 0; i < 20; ++i) {
    while (!parked()) std::this_thread::yield();
    ASSERT_TRUE(ring.submit(mlring_descriptor{}));
    kernel.ring();
    answer();
  }
  EXPECT_GE(kernel.taken, 1);
}

TEST_F(OwnedQueue, NotifiesWhoOwnsItWhenTheClientSleeps) {
  while (!parked()) std::this_thread::yield();
  ASSERT_TRUE(ring.arm());
  ASSERT_TRUE(ring.submit(mlring_descriptor{}));
  kernel.ring();
  answer();
  while (notices < 1) std::this_thread::yield();  // it is told behind the completion
}

TEST_F(OwnedQueue, EndsWhenItIsToldTo) {
  kernel.end();
  while (ring.state() == transport::RingState::active) std::this_thread::yield();
  EXPECT_EQ(ring.state(), transport::RingState::closed);
}

TEST_F(OwnedQueue, OutlivesAnEventSourceThatHasNothingMoreToTell) {
  kernel.stop();
  while (!kernel.last) std::this_thread::yield();
  const int taken = kernel.taken;
  runtime::Session& another = worker.create_session();  // the thread goes on
  worker.destroy_session(another);
  kernel.ring();
  worker.destroy_session(worker.create_session());
  EXPECT_EQ(kernel.taken, taken);
}

TEST_F(OwnedQueue, SaysSinceWhenItRuns) {
  EXPECT_EQ(running_since(), 0u);
  const std::uint64_t before = runtime::monotonic_now();
  ASSERT_TRUE(ring.submit(descriptor_of(MLRING_OP_ALLOC, GateDevice::kGated)));
  kernel.ring();
  while (running_since() == 0) std::this_thread::yield();
  EXPECT_GE(running_since(), before);
  EXPECT_LE(running_since(), runtime::monotonic_now());
  gate->open();
  answer();
  EXPECT_EQ(running_since(), 0u);
}

// A ledger that grants so many bytes.
class Ledger final : public runtime::DeviceLedger {
 public:
  explicit Ledger(std::uint64_t limit) : limit_(limit) {}
  bool take(std::uint64_t bytes) override {
    if (held + bytes > limit_) return false;
    held += bytes;
    return true;
  }
  void give_back(std::uint64_t bytes) override { held -= bytes; }
  std::string refusal() const override { return "the kernel says no"; }
  std::atomic<std::uint64_t> held{0};

 private:
  std::uint64_t limit_;
};

TEST(DeviceLedger, CountsWhatTheSessionHoldsAndMayRefuse) {
  runtime::Worker worker(create_reference_device(), {.memory_bytes = 1u << 20});
  TestSession client(worker);
  TestQueue queue(worker, client.session);
  const auto alloc = [&](std::uint64_t bytes) { return queue.run(descriptor_of(MLRING_OP_ALLOC, bytes)); };
  const auto ledger = std::make_shared<Ledger>(10'000);
  worker.set_ledger(client.session, ledger);
  const mlring_handle held = alloc(8000).completion.result;
  EXPECT_EQ(ledger->held, 8000u);
  const Answer refused = alloc(4000);
  EXPECT_EQ(refused.status(), MLRING_NO_SPACE);
  EXPECT_EQ(refused.message, "the kernel says no");
  EXPECT_EQ(worker.memory()->used(), 8000u) << "what was refused is given back";
  const Answer too_large = alloc(2u << 20);
  EXPECT_EQ(too_large.status(), MLRING_NO_SPACE);
  EXPECT_NE(too_large.message.find("memory of the device is used up"), std::string::npos) << too_large.message;
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_FREE, 0, held)).status(), MLRING_OK);
  EXPECT_EQ(ledger->held, 0u);
  EXPECT_EQ(alloc(10'000).status(), MLRING_OK);
}

}  // namespace
}  // namespace ml
