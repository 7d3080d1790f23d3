#include "engine/runtime/worker.h"

#include <algorithm>
#include <string>

#include "engine/runtime/devices.h"
#include "engine/runtime/memory_planner.h"
#include "ml/error.h"

namespace ml::runtime {
namespace {

constexpr std::uint64_t kSpin = 50'000;
constexpr std::uint64_t kPark = 1'000'000;
// A client, the ring thread and an executor poll at the same time, and a fourth thread may have work to do.
constexpr int kManyCpus = 4;

ThreadOptions thread_options(const WorkerOptions& options) {
  const int cpus = usable_cpus();
  ThreadOptions result;
  result.executors = std::max(options.executors, 1u);
  result.spin = options.spin != WorkerOptions::kByCpus ? options.spin : cpus >= kManyCpus ? kSpin : 0;
  result.park = options.park != WorkerOptions::kByCpus ? options.park : cpus >= kManyCpus ? kPark : 0;
  return result;
}

}  // namespace

Worker::Worker(std::unique_ptr<Device> device, const WorkerOptions& options)
    : device_(std::move(device)), thread_(std::make_unique<RingThread>(*device_, thread_options(options))) {}

Worker::~Worker() {
  while (!sessions_.empty()) destroy_session(*sessions_.back(), MLRING_STATE_LOST);
}

Session& Worker::create_session(const SessionLimits& limits) {
  const std::lock_guard lock(mutex_);
  return *sessions_.emplace_back(std::make_unique<Session>(limits));
}

void Worker::destroy_session(Session& session) { destroy_session(session, MLRING_STATE_CLOSED); }

void Worker::destroy_session(Session& session, std::uint32_t state) {
  for (;;) {
    Queue* queue = nullptr;
    thread_->call([&] {
      queue = session.queues.empty() ? nullptr : session.queues.back().get();
      return true;
    });
    if (queue == nullptr) break;
    destroy_queue(*queue, state);
  }
  const std::lock_guard lock(mutex_);
  std::erase_if(sessions_, [&session](const std::unique_ptr<Session>& other) { return other.get() == &session; });
}

Queue& Worker::create_queue(Session& session, std::uint32_t depth) {
  auto created = std::make_unique<Queue>(*thread_, session, std::make_unique<RingMemory>(depth));
  Queue* queue = created.get();
  thread_->call([&] {
    if (session.queues.size() >= session.limits.queues) {
      throw Error(Code::no_space, "a session may have " + std::to_string(session.limits.queues) + " queues", {},
                  "destroy one that isn't used any more");
    }
    const std::optional<mlring_handle> handle = session.handles.add({.queue = queue});
    if (!handle) {
      throw Error(Code::no_space, "the session's " + std::to_string(session.limits.handles) + " handles are used up",
                  {}, "free some");
    }
    queue->handle = *handle;
    thread_->add_queue(*queue);
    session.queues.push_back(std::move(created));
    return true;
  });
  return *queue;
}

void Worker::destroy_queue(Queue& queue) { destroy_queue(queue, MLRING_STATE_CLOSED); }

void Worker::destroy_queue(Queue& queue, std::uint32_t state) {
  std::unique_ptr<Queue> removed;
  thread_->call([&] {
    queue.end(state);
    if (!queue.drained()) return false;
    Session& session = queue.session();
    thread_->remove_queue(queue);
    session.handles.retire(queue.handle);
    session.handles.recycle(queue.handle.index);
    const auto at = std::ranges::find(session.queues, &queue, &std::unique_ptr<Queue>::get);
    removed = std::move(*at);
    session.queues.erase(at);
    return true;
  });
}

std::uint32_t Worker::add_arena(Session& session, void* base, std::uint64_t bytes) {
  if (base == nullptr || reinterpret_cast<std::uintptr_t>(base) % kMemoryAlignment != 0 || bytes == 0) {
    throw Error(Code::invalid_argument, "an arena must be memory that begins at a multiple of 64 bytes", {},
                "map it with mmap");
  }
  auto arena = std::make_unique<Arena>();
  arena->base = static_cast<std::byte*>(base);
  arena->bytes = bytes;
  if (device_->traits().unified) arena->buffer = device_->wrap(base, bytes);
  std::uint32_t number = 0;
  thread_->call([&] {
    const std::optional<std::uint32_t> added = session.arenas.add(std::move(arena));
    if (!added) {
      throw Error(Code::no_space, "a session may have " + std::to_string(session.limits.arenas) + " arenas", {},
                  "remove one that isn't used any more");
    }
    number = *added;
    return true;
  });
  return number;
}

void Worker::remove_arena(Session& session, std::uint32_t number) {
  std::unique_ptr<Arena> arena;
  thread_->call([&] {
    if (!arena) arena = session.arenas.remove(number);
    if (!arena) throw Error(Code::not_found, "the session has no arena " + std::to_string(number));
    return arena->uses == 0;
  });
}

}  // namespace ml::runtime
