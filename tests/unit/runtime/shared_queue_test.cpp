// Queues of a worker process: three files that neither side can turn against the other, ended without anybody waiting.
#include <gtest/gtest.h>
#include <poll.h>

#include <future>

#include "ml/error.h"
#include "tests/unit/runtime/client.h"
#include "tests/unit/runtime/gate_device.h"
#include "tests/unit/runtime/shared_queue.h"

namespace ml {
namespace {

using namespace test;

constexpr std::uint32_t kDepth = 8;

TEST(SharedRingMemory, SealsTheCompletionPagesAgainstEverybody) {
  const QueueParts parts(kDepth);
  const runtime::SharedRingMemory memory(parts.files(), kDepth);
  const auto bytes = parts.layout.completion_bytes;
  EXPECT_EQ(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.completion_fd(), 0), MAP_FAILED);
  const Mapping readable(memory.completion_fd(), bytes, PROT_READ);
  EXPECT_NE(mprotect(readable.at, bytes, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(pwrite(memory.completion_fd(), "x", 1, 0), -1);
  EXPECT_EQ(ftruncate(memory.completion_fd(), 0), -1);
  EXPECT_EQ(fallocate(memory.completion_fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  const std::string path = "/proc/self/fd/" + std::to_string(memory.completion_fd());
  const int reopened = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (reopened >= 0) {
    EXPECT_EQ(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, reopened, 0), MAP_FAILED);
    EXPECT_EQ(pwrite(reopened, "x", 1, 0), -1);
    close(reopened);
  }
}

TEST(SharedRingMemory, RefusesFilesThatAreNotWhatTheyShouldBe) {
  const QueueParts parts(kDepth);
  const runtime::QueueFiles good = parts.files();
  const Fd unsealed(sealed_memfd(parts.layout.submission_bytes, 0)), small(sealed_memfd(4096)),
      large(sealed_memfd(parts.layout.submission_bytes + 4096)), null(open("/dev/null", O_RDWR | O_CLOEXEC));
  struct Case {
    const char* what;
    runtime::QueueFiles files;
    std::uint32_t depth;
  };
  const Case cases[] = {
      {"a depth that can't be", good, kDepth + 1},
      {"another depth", good, 256},
      {"submission pages that may shrink", {unsealed, good.state, good.doorbell, good.wake}, kDepth},
      {"submission pages too small", {small, good.state, good.doorbell, good.wake}, 1024},
      {"submission pages too large", {large, good.state, good.doorbell, good.wake}, kDepth},
      {"no memory", {null, good.state, good.doorbell, good.wake}, kDepth},
      {"an eventfd as memory", {good.wake, good.state, good.doorbell, good.wake}, kDepth},
      {"a state page of another size", {good.submission, large, good.doorbell, good.wake}, kDepth},
      {"memory as doorbell", {good.submission, good.state, good.submission, good.wake}, kDepth},
      {"a device as wake", {good.submission, good.state, good.doorbell, null}, kDepth},
  };
  for (const Case& c : cases) {
    try {
      const runtime::SharedRingMemory memory(c.files, c.depth);
      ADD_FAILURE() << c.what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::invalid_argument) << c.what << ": " << error.what();
    }
  }
  EXPECT_NO_THROW(runtime::SharedRingMemory(good, kDepth));
}

class SharedQueues : public testing::Test {
 protected:
  ~SharedQueues() override { gate->open(); }

  // Calls something with a callback, and waits until that was called.
  template <class Close>
  static void finish(Close close) {
    std::promise<void> closed;
    close([&closed] { closed.set_value(); });
    closed.get_future().wait();
  }

  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  runtime::Worker worker{std::make_unique<GateDevice>(gate)};
  runtime::Session& session = worker.create_session();
};

TEST_F(SharedQueues, AnswerLikeAnyOther) {
  SharedQueue queue(worker, session);
  for (std::uint64_t i = 0; i < 200; ++i) {
    mlring_descriptor d{};
    d.user_data = i;
    EXPECT_EQ(queue.run(d).entry.user_data, i);
  }
  finish([&](auto closed) { worker.close_queue(queue.queue, closed); });
  EXPECT_EQ(queue.ring.state(), transport::RingState::active) << "the page is mld's to write";
}

TEST_F(SharedQueues, AreNotHeldUpByAClientThatLetsItsEventfdBlock) {
  SharedQueue bad(worker, session), good(worker, session);
  ASSERT_EQ(fcntl(bad.parts().wake, F_SETFL, 0), 0);
  const std::uint64_t full = ~std::uint64_t{1};
  ASSERT_EQ(write(bad.parts().wake, &full, sizeof(full)), static_cast<ssize_t>(sizeof(full)));
  auto* header = static_cast<mlring_submission_header*>(bad.parts().submission_view.at);
  for (int i = 0; i < 10; ++i) {
    mlring_client_arm(header, bad.ring.next_sequence() & 0xffffffff);
    ASSERT_TRUE(bad.ring.submit(mlring_descriptor{}));
    EXPECT_EQ(good.run({}).entry.status, MLRING_OK);
  }
}

TEST_F(SharedQueues, RingMoreOftenThanNoticesAreKept) {
  SharedQueue queue(worker, session);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(queue.run({}).entry.status, MLRING_OK);
  const Fd bell(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  runtime::EventBell rings;
  for (int i = 0; i < 1000; ++i) rings.ring(bell);
  std::uint64_t count = 0;
  ASSERT_EQ(read(bell, &count, sizeof(count)), static_cast<ssize_t>(sizeof(count)));
  EXPECT_EQ(count, 1000u);
}

TEST_F(SharedQueues, AreClosedBehindWhatRuns) {
  SharedQueue queue(worker, session), other(worker, session);
  ASSERT_TRUE(queue.ring.submit(descriptor_of(MLRING_OP_ALLOC, GateDevice::kGated)));
  gate->wait_for_arrival();
  std::promise<void> closed;
  worker.close_queue(queue.queue, [&closed] { closed.set_value(); });
  std::future<void> done = closed.get_future();
  EXPECT_EQ(other.run({}).entry.status, MLRING_OK);
  EXPECT_EQ(done.wait_for(std::chrono::seconds(0)), std::future_status::timeout) << "an executor still has it";
  gate->open();
  done.wait();
}

TEST_F(SharedQueues, AreClosedWithTheirSessionWhileOneOfThemIsBeingClosed) {
  SharedQueue first(worker, session), second(worker, session), third(worker, session);
  ASSERT_TRUE(first.ring.submit(descriptor_of(MLRING_OP_ALLOC, GateDevice::kGated)));
  ASSERT_TRUE(second.ring.submit(descriptor_of(MLRING_OP_ALLOC, GateDevice::kGated)));
  gate->wait_for_arrival();
  std::promise<void> queue_closed, session_closed;
  std::atomic<bool> in_order = false, queue_gone = false;
  worker.close_queue(first.queue, [&] {
    queue_gone = true;
    queue_closed.set_value();
  });
  worker.close_session(session, [&] {
    in_order = queue_gone.load();
    session_closed.set_value();
  });
  gate->open();
  session_closed.get_future().wait();
  EXPECT_TRUE(in_order);
  queue_closed.get_future().wait();
}

TEST_F(SharedQueues, OfAFaultedClientAreReportedOnce) {
  std::promise<std::uint32_t> fault;
  SharedQueue queue(worker, session, 64, {.faulted = [&fault](std::uint32_t why) { fault.set_value(why); }});
  auto* header = static_cast<mlring_submission_header*>(queue.parts().submission_view.at);
  __atomic_store_n(&header->tail, header->tail + 1000, __ATOMIC_RELEASE);
  const std::uint64_t one = 1;
  ASSERT_EQ(write(queue.parts().doorbell, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  EXPECT_EQ(fault.get_future().get(), MLRING_FAULT_SUBMISSION_TAIL);
  finish([&](auto closed) { worker.close_session(session, closed); });
}

bool is_mapped(const void* at) {
  unsigned char present = 0;
  return mincore(const_cast<void*>(at), 4096, &present) == 0;
}

TEST_F(SharedQueues, ArenasAreUnmappedBehindTheirLastUse) {
  SharedQueue queue(worker, session);
  constexpr std::uint64_t kBytes = 1u << 21;
  const Fd file(sealed_memfd(kBytes));
  const Mapping clients(file, kBytes, PROT_READ | PROT_WRITE);
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  const std::uint32_t arena = worker.add_mapped_arena(session, memory, kBytes);
  EXPECT_EQ(runtime::Worker::use_of(session).arena_bytes, kBytes);
  // A copy inside of the arena stands behind an allocation that waits at the gate.
  auto* table = static_cast<mlring_argument*>(clients.at);
  for (int i = 0; i < 2; ++i) {
    table[i] = {};
    table[i].direction = i == 0 ? MLRING_IN : MLRING_OUT;
    table[i].dtype = MLRING_U8;
    table[i].rank = 1;
    table[i].dims[0] = table[i].capacity = 64;
    table[i].arena = arena;
    table[i].offset = 4096 + 4096 * static_cast<std::uint64_t>(i);
  }
  ASSERT_TRUE(queue.ring.submit(descriptor_of(MLRING_OP_ALLOC, GateDevice::kGated)));
  gate->wait_for_arrival();
  mlring_descriptor copy = after(descriptor_of(MLRING_OP_COPY));
  copy.argument_arena = arena;
  copy.argument_count = 2;
  ASSERT_TRUE(queue.ring.submit(copy));
  ASSERT_EQ(queue.run({}).entry.status, MLRING_OK);  // both were taken
  worker.remove_mapped_arena(session, arena);
  EXPECT_EQ(runtime::Worker::use_of(session).arena_bytes, 0u);
  EXPECT_THROW(worker.remove_mapped_arena(session, arena), Error);
  EXPECT_TRUE(is_mapped(memory));
  gate->open();
  while (is_mapped(memory)) std::this_thread::yield();
}

TEST_F(SharedQueues, UnmapWhatIsLeftWithTheSession) {
  constexpr std::uint64_t kBytes = 1u << 16;
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  worker.add_mapped_arena(session, memory, kBytes);
  void* crooked = static_cast<std::byte*>(memory) + 8;
  EXPECT_THROW(worker.add_arena(session, crooked, 64), Error);
  finish([&](auto closed) { worker.close_session(session, closed); });
  while (is_mapped(memory)) std::this_thread::yield();
}

TEST_F(SharedQueues, ShareAProgramThatWasLoadedOutside) {
  Graph graph;
  output("y", input(graph, "x", DType::f32, {4}) * 2.0);
  const auto program = std::make_shared<runtime::Program>(graph, worker.device(), runtime::ProgramOptions{});
  TestSession one(worker), two(worker);
  TestQueue first(worker, one.session), second(worker, two.session);
  for (const auto& [client, queue] : {std::pair{&one, &first}, std::pair{&two, &second}}) {
    const mlring_handle handle = worker.add_program(client->session, program);
    const auto x = client->put(std::vector<float>{1, 2, 3, 4}), y = client->reserve(16);
    const Answer answer = queue->run(client->execute(
        handle, {client->argument(MLRING_IN, DType::f32, {4}, x), client->argument(MLRING_OUT, DType::f32, {4}, y)}));
    EXPECT_EQ(answer.status(), MLRING_OK) << answer.message;
    EXPECT_EQ(client->get(y, 4), (std::vector<float>{2, 4, 6, 8}));
    EXPECT_EQ(runtime::Worker::use_of(client->session).executions, 1u);
    EXPECT_EQ(queue->run(descriptor_of(MLRING_OP_FREE, 0, handle)).status(), MLRING_OK);
    EXPECT_EQ(queue->run(descriptor_of(MLRING_OP_FREE, 0, handle)).status(), MLRING_NOT_FOUND);
    EXPECT_EQ(runtime::Worker::use_of(client->session).failures, 1u);
  }
}

}  // namespace
}  // namespace ml
