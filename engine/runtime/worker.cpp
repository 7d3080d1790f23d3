#include "engine/runtime/worker.h"

#include <unistd.h>

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

ThreadOptions thread_options(const WorkerOptions& options, std::shared_ptr<MemoryBudget> memory) {
  const int cpus = usable_cpus();
  ThreadOptions result;
  result.executors = std::max(options.executors, 1u);
  result.spin = options.spin != WorkerOptions::kByCpus ? options.spin : cpus >= kManyCpus ? kSpin : 0;
  result.park = options.park != WorkerOptions::kByCpus ? options.park : cpus >= kManyCpus ? kPark : 0;
  result.preemption = options.preemption;
  result.role = options.role;
  result.running = options.running;
  result.memory = std::move(memory);
  result.events = options.events;
  result.tuner = options.tuner;
  return result;
}

mlring_handle add_handle(Session& session, Object object) {
  const std::optional<mlring_handle> handle = session.handles.add(std::move(object));
  if (handle) return *handle;
  throw Error(Code::no_space, "the session's " + std::to_string(session.limits.handles) + " handles are used up", {},
              "free some");
}

std::unique_ptr<Arena> take_arena(Session& session, std::uint32_t number) {
  std::unique_ptr<Arena> arena = session.arenas.remove(number);
  if (!arena) throw Error(Code::not_found, "the session has no arena " + std::to_string(number));
  session.arena_bytes.subtract(arena->bytes);
  return arena;
}

}  // namespace

Worker::Worker(std::unique_ptr<Device> device, const WorkerOptions& options)
    : device_(std::move(device)),
      memory_(std::make_shared<MemoryBudget>(options.memory_bytes)),
      thread_(std::make_unique<RingThread>(*device_, thread_options(options, memory_))) {}

Worker::~Worker() {
  thread_->call([this] {
    for (Session* session : all_sessions()) {
      if (!session->closed) close(*session, MLRING_STATE_LOST, [] {});
    }
    return all_sessions().empty();
  });
}

std::vector<Session*> Worker::all_sessions() {
  const std::lock_guard lock(mutex_);
  std::vector<Session*> all;
  for (const std::unique_ptr<Session>& session : sessions_) all.push_back(session.get());
  return all;
}

Session& Worker::create_session(const SessionLimits& limits) {
  const std::lock_guard lock(mutex_);
  std::erase_if(user_bytes_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<UserBytes>& kept = user_bytes_[limits.user];
  std::shared_ptr<UserBytes> bytes = kept.lock();
  if (!bytes) kept = bytes = std::make_shared<UserBytes>(0);
  return *sessions_.emplace_back(std::make_unique<Session>(limits, memory_, std::move(bytes)));
}

void Worker::destroy_session(Session& session) {
  std::unique_ptr<Session> destroyed;
  bool begun = false;
  thread_->call([&] {
    if (!begun) close(session, MLRING_STATE_CLOSED, {});
    begun = true;
    if (!session.queues.empty()) return false;
    destroyed = forget(session);
    return true;
  });
}

std::unique_ptr<Session> Worker::forget(Session& session) {
  const std::lock_guard lock(mutex_);
  const auto at = std::ranges::find(sessions_, &session, &std::unique_ptr<Session>::get);
  std::unique_ptr<Session> forgotten = std::move(*at);
  sessions_.erase(at);
  return forgotten;
}

Queue& Worker::attach_queue(Session& session, std::unique_ptr<QueueMemory> memory, QueueOptions options) {
  auto created = std::make_unique<Queue>(*thread_, session, std::move(memory), std::move(options));
  Queue* queue = created.get();
  thread_->call([&] {
    if (session.queues.size() >= session.limits.queues) {
      throw Error(Code::no_space, "a session may have " + std::to_string(session.limits.queues) + " queues", {},
                  "destroy one that isn't used any more");
    }
    session.queues.reserve(session.queues.size() + 1);
    queue->handle = add_handle(session, {.queue = queue});
    try {
      thread_->add_queue(*queue);
    } catch (...) {  // the queue goes, and nothing may name it
      session.handles.retire(queue->handle);
      session.handles.recycle(queue->handle.index);
      throw;
    }
    session.queues.push_back(std::move(created));
    return true;
  });
  return *queue;
}

void Worker::destroy_queue(Queue& queue) {
  bool begun = false, closed = false;
  thread_->call([&] {
    if (!begun) close(queue, MLRING_STATE_CLOSED, [&closed] { closed = true; });
    begun = true;
    return closed;
  });
}

void Worker::close_queue(Queue& queue, std::function<void()> closed) {
  thread_->post([this, &queue, closed = std::move(closed)] { close(queue, MLRING_STATE_CLOSED, closed); });
}

void Worker::close_session(Session& session, std::function<void()> closed) {
  thread_->post([this, &session, closed = std::move(closed)] { close(session, MLRING_STATE_CLOSED, closed); });
}

// ---- on the ring thread -------------------------------------------------------------------------------------------

void Worker::close(Queue& queue, std::uint32_t state, std::function<void()> closed) {
  queue.close(state, [this, &queue, closed = std::move(closed)] {
    Session& session = queue.session();
    thread_->free(take_out(queue));
    if (closed) closed();
    if (session.closed) finish_closing(session);
  });
}

void Worker::close(Session& session, std::uint32_t state, std::function<void()> closed) {
  std::vector<Queue*> open;
  for (const std::unique_ptr<Queue>& queue : session.queues) {
    if (!queue->closing()) open.push_back(queue.get());
  }
  for (Queue* queue : open) close(*queue, state, {});
  session.closed = std::move(closed);
  if (session.closed) finish_closing(session);
}

void Worker::finish_closing(Session& session) {
  if (!session.queues.empty()) return;
  const std::function<void()> closed = std::move(session.closed);
  thread_->free(forget(session));
  closed();
}

// Nothing knows the queue any more.
std::unique_ptr<Queue> Worker::take_out(Queue& queue) {
  Session& session = queue.session();
  thread_->remove_queue(queue);
  session.handles.retire(queue.handle);
  session.handles.recycle(queue.handle.index);
  const auto at = std::ranges::find(session.queues, &queue, &std::unique_ptr<Queue>::get);
  std::unique_ptr<Queue> taken = std::move(*at);
  session.queues.erase(at);
  return taken;
}

// ---- arenas and programs ------------------------------------------------------------------------------------------

std::uint32_t Worker::add_arena(Session& session, void* base, std::uint64_t bytes) {
  return add_arena(session, std::make_unique<Arena>(base, bytes));
}

std::uint32_t Worker::add_mapped_arena(Session& session, void* base, std::uint64_t bytes) {
  auto arena = std::make_unique<Arena>(base, bytes);
  arena->owns_mapping = true;
  return add_arena(session, std::move(arena));
}

std::uint32_t Worker::add_file(Session& session, void* base, std::uint64_t bytes, std::shared_ptr<const void> mapping) {
  if (reinterpret_cast<std::uintptr_t>(base) % static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE)) != 0)
    throw Error(Code::invalid_argument, "a file's mapping must begin at a page", {}, "map it with mmap");
  auto arena = std::make_unique<Arena>(base, bytes);
  arena->file = std::move(mapping);
  return add_arena(session, std::move(arena));
}

std::uint32_t Worker::add_arena(Session& session, std::unique_ptr<Arena> arena) {
  const std::uint64_t bytes = arena->bytes;
  if (arena->base == nullptr || reinterpret_cast<std::uintptr_t>(arena->base) % kMemoryAlignment != 0 || bytes == 0) {
    throw Error(Code::invalid_argument, "an arena must be memory that begins at a multiple of 64 bytes", {},
                "map it with mmap");
  }
  if (device_->traits().unified) arena->buffer = device_->wrap(arena->base, bytes);
  std::uint32_t number = 0;
  thread_->call([&] {
    const std::optional<std::uint32_t> added = session.arenas.add(std::move(arena));
    if (!added) {
      throw Error(Code::no_space, "a session may have " + std::to_string(session.limits.arenas) + " arenas", {},
                  "remove one that isn't used any more");
    }
    session.arena_bytes.add(bytes);
    number = *added;
    return true;
  });
  return number;
}

void Worker::remove_arena(Session& session, std::uint32_t number) {
  std::unique_ptr<Arena> arena;
  thread_->call([&] {
    if (!arena) arena = take_arena(session, number);
    return arena->uses == 0;
  });
}

void Worker::remove_mapped_arena(Session& session, std::uint32_t number) {
  thread_->call([&] {
    std::unique_ptr<Arena> arena = take_arena(session, number);
    arena->removed = true;
    if (arena->uses == 0)
      thread_->free(std::move(arena));
    else
      arena.release();  // NOLINT(bugprone-unused-return-value): its last use frees it
    return true;
  });
}

mlring_handle Worker::add_program(Session& session, std::shared_ptr<Program> program) {
  mlring_handle handle{};
  thread_->call([&] {
    handle = add_handle(session, {.program = std::move(program)});
    return true;
  });
  return handle;
}

void Worker::set_ledger(Session& session, std::shared_ptr<DeviceLedger> ledger) {
  thread_->call([&] {
    session.ledger = std::move(ledger);
    return true;
  });
}

void Worker::set_weight(std::uint32_t user, std::uint32_t weight) {
  thread_->post([this, user, weight] {
    for (TaskThreads* threads : {&thread_->executors(), &thread_->compilers()})
      threads->share().set_weight(user, weight);
  });
}

Worker::SessionUse Worker::use_of(const Session& session) {
  return {session.busy_ns.get(),     session.compile_ns.get(), session.charged.get(),
          session.arena_bytes.get(), session.executions.get(), session.failures.get()};
}

}  // namespace ml::runtime
