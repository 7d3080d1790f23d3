// The C door: versions, struct sizes, errors, and a queue that works through it.
#include "engine/runtime/embedded.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <memory>
#include <string>
#include <thread>

#include "libmlclient/transport/client_ring.h"
#include "libmlclient/transport/ring_mapping.h"
#include "ml/error.h"

namespace ml {
namespace {

std::int32_t code(Code c) { return -static_cast<std::int32_t>(c); }

class Embedded : public testing::Test {
 protected:
  Embedded() {
    mlengine_worker_options options{};
    options.size = sizeof(options);
    options.device = "reference";
    EXPECT_EQ(mlengine_worker_create(&options, &worker), 0) << mlengine_error();
    EXPECT_EQ(mlengine_session_create(worker, nullptr, &session), 0) << mlengine_error();
    info.size = sizeof(info);
  }
  ~Embedded() override {
    mlengine_session_destroy(session);
    mlengine_worker_destroy(worker);
  }

  mlengine_worker* worker = nullptr;
  mlengine_session* session = nullptr;
  mlengine_queue* queue = nullptr;
  mlengine_queue_info info{};
};

// What a thread's objects, and a process's sessions, do when they go after the door's own text has gone.
TEST_F(Embedded, KeepsErrorsOfAThreadThatIsEnding) {
  static std::string text;
  struct FailsAtTheEnd {
    ~FailsAtTheEnd() {
      mlengine_worker_options options{};
      EXPECT_NE(mlengine_worker_create(&options, &worker), 0);
      text = mlengine_error();
    }
    mlengine_worker* worker = nullptr;
  };
  std::thread([] {
    thread_local FailsAtTheEnd first;  // made before the door's text, gone after it
    mlengine_worker_options options{};
    EXPECT_NE(mlengine_worker_create(&options, &first.worker), 0);
    EXPECT_NE(std::string(mlengine_error()), "");
  }).join();
  EXPECT_NE(text, "");
}

TEST_F(Embedded, SaysItsVersion) { EXPECT_EQ(mlengine_version(), MLENGINE_VERSION); }

TEST_F(Embedded, GivesAQueueThatAnswers) {
  ASSERT_EQ(mlengine_queue_create(session, 0, &queue, &info), 0) << mlengine_error();
  EXPECT_EQ(info.depth, 256u);
  EXPECT_NE(info.handle.generation, 0u);
  const transport::RingMapping mapping(info.memory_fd, info.depth);
  transport::ClientRing ring(mapping.pages(), info.doorbell_fd, info.wake_fd);
  transport::Completion completion;
  ASSERT_TRUE(ring.submit(mlring_descriptor{}));
  ASSERT_TRUE(ring.wait());
  ASSERT_TRUE(ring.poll(completion));
  EXPECT_EQ(completion.entry.status, MLRING_OK);
  mlengine_queue_destroy(queue);
  EXPECT_EQ(ring.state(), transport::RingState::closed);
}

TEST_F(Embedded, LeavesQueuesLostWhenTheWorkerGoes) {
  ASSERT_EQ(mlengine_queue_create(session, 16, &queue, &info), 0) << mlengine_error();
  const transport::RingMapping mapping(info.memory_fd, info.depth);
  transport::ClientRing ring(mapping.pages(), info.doorbell_fd, info.wake_fd);
  mlengine_worker_destroy(worker);
  EXPECT_EQ(ring.state(), transport::RingState::lost);
  worker = nullptr;
  session = nullptr;
}

TEST_F(Embedded, AcceptsOnlyWhatAnOlderCallerKnows) {
  mlengine_queue_info older{};
  older.size = offsetof(mlengine_queue_info, handle);
  older.handle = {7, 7};
  ASSERT_EQ(mlengine_queue_create(session, 16, &queue, &older), 0) << mlengine_error();
  EXPECT_EQ(older.depth, 16u);
  EXPECT_EQ(older.handle.index, 7u) << "beyond what the caller has";
  mlengine_queue_info unset{};
  EXPECT_EQ(mlengine_queue_create(session, 16, &queue, &unset), code(Code::invalid_argument));
  EXPECT_NE(std::string(mlengine_error()).find("sizeof"), std::string::npos) << mlengine_error();
}

TEST_F(Embedded, SaysWhatIsWrong) {
  mlengine_worker* other = nullptr;
  mlengine_worker_options options{};
  options.size = sizeof(options);
  options.device = "abacus";
  EXPECT_EQ(mlengine_worker_create(&options, &other), code(Code::not_found));
  EXPECT_NE(std::string(mlengine_error()).find("abacus"), std::string::npos) << mlengine_error();
  EXPECT_EQ(mlengine_queue_create(session, 3, &queue, &info), code(Code::invalid_argument)) << "no power of two";
  alignas(64) char memory[128];
  std::uint32_t arena = 0;
  EXPECT_EQ(mlengine_arena_add(session, memory + 8, 64, &arena), code(Code::invalid_argument));
  EXPECT_EQ(mlengine_arena_remove(session, 12), code(Code::not_found));
  ASSERT_EQ(mlengine_arena_add(session, memory, sizeof(memory), &arena), 0);
  EXPECT_STREQ(mlengine_error(), "");
  EXPECT_EQ(mlengine_arena_remove(session, arena), 0);
}

// A file that is mapped until `released`.
class EmbeddedFile : public Embedded {
 protected:
  static constexpr std::size_t kBytes = 8192;
  EmbeddedFile() : memory(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ~EmbeddedFile() override { munmap(memory, kBytes); }
  std::int32_t add(const void* base) {
    return mlengine_file_add(
        session, base, kBytes / 2, [](void* context) { ++*static_cast<int*>(context); }, &released, &arena);
  }

  void* memory;
  int released = 0;
  std::uint32_t arena = 0;
};

TEST_F(EmbeddedFile, IsReleasedWhenItIsRemoved) {
  ASSERT_EQ(add(memory), 0) << mlengine_error();
  EXPECT_EQ(released, 0);
  EXPECT_EQ(mlengine_arena_remove(session, arena), 0);
  EXPECT_EQ(released, 1);
}

TEST_F(EmbeddedFile, IsReleasedWhenItCannotBeAdded) {
  EXPECT_EQ(add(static_cast<std::byte*>(memory) + 64), code(Code::invalid_argument)) << "not at a page";
  EXPECT_NE(std::string(mlengine_error()).find("page"), std::string::npos) << mlengine_error();
  EXPECT_EQ(released, 1);
}

TEST_F(EmbeddedFile, IsReleasedWithItsSession) {
  ASSERT_EQ(add(memory), 0) << mlengine_error();
  mlengine_session_destroy(session);
  session = nullptr;
  EXPECT_EQ(released, 1);
}

TEST_F(Embedded, LimitsQueues) {
  mlengine_session_options limits{};
  limits.size = sizeof(limits);
  limits.queues = 1;
  mlengine_session* small = nullptr;
  ASSERT_EQ(mlengine_session_create(worker, &limits, &small), 0);
  EXPECT_EQ(mlengine_queue_create(small, 16, &queue, &info), 0);
  EXPECT_EQ(mlengine_queue_create(small, 16, &queue, &info), code(Code::no_space));
  mlengine_session_destroy(small);
}

}  // namespace
}  // namespace ml
