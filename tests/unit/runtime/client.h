// Clients of a worker, for tests: sessions with one arena each, and queues as a client maps them.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/graph/binary.h"
#include "engine/graph/build.h"
#include "engine/graph/build_control.h"
#include "engine/runtime/ring_memory.h"
#include "engine/runtime/worker.h"
#include "libmlclient/transport/client_ring.h"
#include "libmlclient/transport/ring_mapping.h"

namespace ml::test {

struct Answer {
  mlring_completion completion;
  std::string message;
  std::int32_t status() const { return completion.status; }
};

class TestQueue {
 public:
  TestQueue(runtime::Worker& worker, runtime::Session& session, std::uint32_t depth = 64,
            runtime::QueueOptions options = {})
      : TestQueue(worker, session, std::make_unique<runtime::RingMemory>(depth), std::move(options)) {}
  ~TestQueue() { destroy(); }
  TestQueue(const TestQueue&) = delete;
  TestQueue& operator=(const TestQueue&) = delete;

  void destroy() {
    if (queue_ != nullptr) worker_.destroy_queue(*queue_);
    queue_ = nullptr;
  }
  runtime::Queue& queue() const { return *queue_; }
  // The worker forgets it by itself.
  void release() { queue_ = nullptr; }
  int memory_fd() const { return memory_fd_; }
  // Rings the doorbell, as a client without its library would.
  void knock() const {
    const std::uint64_t one = 1;
    if (write(queue_->memory().doorbell_fd(), &one, sizeof(one)) != sizeof(one)) throw std::runtime_error("doorbell");
  }

  // Answers the descriptor's sequence.
  std::uint64_t submit(const mlring_descriptor& descriptor) {
    while (!ring.submit(descriptor)) {
      if (ring.state() != transport::RingState::active) throw std::runtime_error("the queue has ended");
      read_all();
    }
    return ring.next_sequence() - 1;
  }
  // Blocks until that descriptor is answered.
  Answer wait(std::uint64_t sequence) {
    for (;;) {
      read_all();
      if (const auto found = answers_.find(sequence); found != answers_.end()) {
        Answer answer = std::move(found->second);
        answers_.erase(found);
        return answer;
      }
      if (!ring.wait() && ring.state() != transport::RingState::active) throw std::runtime_error("the queue has ended");
    }
  }
  Answer run(const mlring_descriptor& descriptor) { return wait(submit(descriptor)); }
  bool answered(std::uint64_t sequence) {
    read_all();
    return answers_.contains(sequence);
  }
  // The order in which answers came.
  const std::vector<std::uint64_t>& order() const { return order_; }

 private:
  TestQueue(runtime::Worker& worker, runtime::Session& session, std::unique_ptr<runtime::RingMemory> memory,
            runtime::QueueOptions options)
      : worker_(worker),
        memory_fd_(memory->memory_fd()),
        queue_(&worker.attach_queue(session, std::move(memory), std::move(options))),
        handle(queue_->handle),
        mapping_(memory_fd_, queue_->memory().depth()),
        ring(mapping_.pages(), queue_->memory().doorbell_fd(), queue_->memory().wake_fd()) {}

  void read_all() {
    transport::Completion completion;
    std::string message;
    while (ring.poll(completion, &message)) {
      order_.push_back(completion.sequence);
      answers_[completion.sequence] = {completion.entry, message};
    }
  }

  runtime::Worker& worker_;
  int memory_fd_;
  runtime::Queue* queue_;

 public:
  const mlring_handle handle;

 private:
  transport::RingMapping mapping_;

 public:
  transport::ClientRing ring;

 private:
  std::map<std::uint64_t, Answer> answers_;
  std::vector<std::uint64_t> order_;
};

// A session of a worker, and its arena.
class TestSession {
 public:
  explicit TestSession(runtime::Worker& its_worker, const runtime::SessionLimits& limits = {})
      : worker(its_worker), session(worker.create_session(limits)) {
    const int memory_fd = memfd_create("arena", MFD_CLOEXEC);
    if (memory_fd < 0 || ftruncate(memory_fd, kArenaBytes) != 0) throw std::runtime_error("memfd");
    for (void** view : {&memory_, &workers_view_}) {
      *view = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
      if (*view == MAP_FAILED) throw std::runtime_error("mmap");
    }
    close(memory_fd);
    arena = worker.add_arena(session, workers_view_, kArenaBytes);
  }
  ~TestSession() {
    worker.destroy_session(session);
    munmap(workers_view_, kArenaBytes);
    munmap(memory_, kArenaBytes);
  }
  TestSession(const TestSession&) = delete;
  TestSession& operator=(const TestSession&) = delete;

  static constexpr std::uint64_t kArenaBytes = 4u << 20;
  std::byte* at(std::uint64_t offset) const { return static_cast<std::byte*>(memory_) + offset; }
  mlring_argument* table(std::uint64_t offset) const { return reinterpret_cast<mlring_argument*>(at(offset)); }

  // Room in the arena.
  std::uint64_t reserve(std::uint64_t bytes) {
    const std::uint64_t offset = used_;
    used_ += (bytes + 63) / 64 * 64;
    if (used_ > kArenaBytes) throw std::runtime_error("the test's arena is full");
    return offset;
  }
  std::uint64_t put(std::span<const std::byte> bytes) {
    const std::uint64_t offset = reserve(bytes.size());
    std::ranges::copy(bytes, at(offset));
    return offset;
  }
  std::uint64_t put(const std::vector<float>& values) { return put(std::as_bytes(std::span(values))); }
  template <class T = float>
  std::vector<T> get(std::uint64_t offset, std::size_t count) const {
    std::vector<T> values(count);
    if (count > 0) std::memcpy(values.data(), at(offset), count * sizeof(T));
    return values;
  }

  mlring_argument argument(std::uint32_t direction, DType dtype, const Shape& shape, std::uint64_t offset) const {
    mlring_argument a{};
    a.direction = direction;
    a.dtype = static_cast<std::uint32_t>(dtype);
    a.rank = static_cast<std::uint32_t>(shape.rank());
    for (int i = 0; i < shape.rank(); ++i) a.dims[i] = static_cast<std::uint64_t>(shape[i]);
    a.arena = arena;
    a.offset = offset;
    a.capacity = static_cast<std::uint64_t>(shape.elements()) * dtype_size(dtype);
    return a;
  }
  mlring_argument behind(mlring_handle memory_handle, mlring_argument a, std::uint64_t offset = 0) const {
    a.arena = 0;
    a.handle = memory_handle;
    a.offset = offset;
    return a;
  }
  // A descriptor whose argument table lies in the arena.
  mlring_descriptor with_arguments(std::uint32_t opcode, const std::vector<mlring_argument>& arguments) {
    mlring_descriptor d{};
    d.opcode = opcode;
    d.argument_count = static_cast<std::uint32_t>(arguments.size());
    if (arguments.empty()) return d;
    d.argument_arena = arena;
    d.argument_offset = put(std::as_bytes(std::span(arguments)));
    return d;
  }

  mlring_descriptor compile(const Graph& graph) {
    const BinaryGraph binary = serialize(graph);
    std::vector<mlring_argument> arguments;
    const auto add = [&](std::span<const std::byte> bytes) {
      arguments.push_back(argument(MLRING_IN, DType::u8, Shape{static_cast<std::int64_t>(bytes.size())}, put(bytes)));
    };
    add(binary.bytes);
    for (const auto& blob : binary.blobs) add(blob->bytes());
    return with_arguments(MLRING_OP_COMPILE, arguments);
  }
  mlring_handle load(TestQueue& queue, const Graph& graph) {
    const Answer answer = queue.run(compile(graph));
    if (answer.status() != MLRING_OK) throw std::runtime_error(answer.message);
    return answer.completion.result;
  }
  mlring_descriptor execute(mlring_handle program, const std::vector<mlring_argument>& arguments) {
    mlring_descriptor d = with_arguments(MLRING_OP_EXECUTE, arguments);
    d.handle = program;
    return d;
  }

  runtime::Worker& worker;
  runtime::Session& session;
  std::uint32_t arena = 0;

 private:
  // The arena is mapped twice, as client and worker would in two processes.
  void* memory_ = nullptr;
  void* workers_view_ = nullptr;
  std::uint64_t used_ = 64;
};

struct OwnWorker {
  runtime::Worker own_worker;
};
// A session of a worker of its own.
class TestClient : private OwnWorker, public TestSession {
 public:
  explicit TestClient(std::unique_ptr<Device> device, const runtime::WorkerOptions& options = {},
                      const runtime::SessionLimits& limits = {})
      : OwnWorker{runtime::Worker(std::move(device), options)}, TestSession(own_worker, limits) {}
};

inline mlring_descriptor descriptor_of(std::uint32_t opcode, std::uint64_t operand = 0, mlring_handle handle = {}) {
  mlring_descriptor d{};
  d.opcode = opcode;
  d.operand = operand;
  d.handle = handle;
  return d;
}
inline mlring_descriptor after(mlring_descriptor d) {
  d.flags |= MLRING_AFTER;
  return d;
}
// An execution that only stopping ends: `while (true)`, loaded through `queue`.
inline mlring_descriptor loop_without_end(TestSession& client, TestQueue& queue) {
  Graph condition, turn, graph;
  output("go", input(condition, "go", DType::boolean, {}));
  output("go", input(turn, "go", DType::boolean, {}));
  const Var start = input(graph, "go", DType::boolean, {});
  output("end", while_loop(std::make_shared<const Graph>(condition), std::make_shared<const Graph>(turn),
                           std::vector<Var>{start}, {})[0]);
  const mlring_handle loop = client.load(queue, graph);
  const std::uint8_t yes = 1;
  const auto at = client.put(std::as_bytes(std::span(&yes, 1)));
  return client.execute(loop, {client.argument(MLRING_IN, DType::boolean, {}, at),
                               client.argument(MLRING_OUT, DType::boolean, {}, at + 8)});
}

}  // namespace ml::test
