// The C door: struct sizes are checked, exceptions become codes, and nothing else happens here.
#include "engine/runtime/embedded.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/runtime/devices.h"
#include "engine/runtime/door.h"
#include "engine/runtime/ring_memory.h"
#include "engine/runtime/worker.h"
#include "ml/error.h"

namespace rt = ml::runtime;
using rt::guarded;
using rt::read_options;

struct mlengine_queue {
  mlengine_session& session;
  rt::Queue& queue;
};
struct mlengine_session {
  mlengine_worker& worker;
  rt::Session& session;
  std::vector<std::unique_ptr<mlengine_queue>> queues;
};
// What the caller forgets to destroy goes with the worker.
struct mlengine_worker {
  mlengine_worker(std::unique_ptr<ml::Device> device, const rt::WorkerOptions& options)
      : worker(std::move(device), options) {}
  rt::Worker worker;
  const std::string fingerprint = worker.device().fingerprint();
  std::mutex mutex;  // guards the lists, here and in the sessions
  std::vector<std::unique_ptr<mlengine_session>> sessions;
};

namespace {

constexpr uint32_t kDefaultDepth = 256;

std::uint64_t physical_memory() {
  return static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

template <class T>
void forget(std::vector<std::unique_ptr<T>>& list, const T* entry) {
  std::erase_if(list, [entry](const std::unique_ptr<T>& other) { return other.get() == entry; });
}

template <class T>
T or_default(T value, T preset) {
  return value != 0 ? value : preset;
}

}  // namespace

extern "C" {

uint32_t mlengine_version(void) { return MLENGINE_VERSION; }

const char* mlengine_error(void) { return rt::last_door_error(); }

int32_t mlengine_worker_create(const struct mlengine_worker_options* options, struct mlengine_worker** worker) {
  return guarded([&] {
    const mlengine_worker_options wanted = read_options(options);
    rt::WorkerOptions known;
    known.executors = or_default(wanted.executors, known.executors);
    if (wanted.spin_us != 0) known.spin = std::uint64_t{wanted.spin_us} * 1000;
    if (wanted.park_us != 0) known.park = std::uint64_t{wanted.park_us} * 1000;
    const int threads = wanted.threads != 0 ? static_cast<int>(wanted.threads) : rt::usable_cpus();
    const char* device = wanted.device != nullptr ? wanted.device : "cpu";
    std::unique_ptr<ml::Device> created = rt::create_device(device, threads);
    known.tuner = rt::tuner_from_environment(*created);
    *worker = new mlengine_worker(std::move(created), known);
  });
}

const char* mlengine_worker_fingerprint(const struct mlengine_worker* worker) { return worker->fingerprint.c_str(); }

void mlengine_worker_destroy(struct mlengine_worker* worker) { delete worker; }

int32_t mlengine_session_create(struct mlengine_worker* worker, const struct mlengine_session_options* options,
                                struct mlengine_session** session) {
  return guarded([&] {
    const mlengine_session_options wanted = read_options(options);
    rt::SessionLimits limits;
    limits.queues = or_default(wanted.queues, limits.queues);
    limits.arenas = or_default(wanted.arenas, limits.arenas);
    limits.handles = or_default(wanted.handles, limits.handles);
    limits.plans = or_default(wanted.plans, limits.plans);
    limits.device_bytes = or_default(wanted.device_bytes, limits.device_bytes);
    limits.graph_bytes = or_default(wanted.graph_bytes, limits.graph_bytes);
    limits.scratch_bytes = or_default(wanted.scratch_bytes, physical_memory());
    auto created =
        std::make_unique<mlengine_session>(mlengine_session{*worker, worker->worker.create_session(limits), {}});
    const std::lock_guard lock(worker->mutex);
    *session = worker->sessions.emplace_back(std::move(created)).get();
  });
}

void mlengine_session_destroy(struct mlengine_session* session) {
  if (session == nullptr) return;
  mlengine_worker& worker = session->worker;
  worker.worker.destroy_session(session->session);
  const std::lock_guard lock(worker.mutex);
  forget(worker.sessions, session);
}

int32_t mlengine_queue_create(struct mlengine_session* session, uint32_t depth, struct mlengine_queue** queue,
                              struct mlengine_queue_info* info) {
  return guarded([&] {
    mlengine_queue_info answer = read_options(info);
    mlengine_worker& worker = session->worker;
    auto memory = std::make_unique<rt::RingMemory>(or_default(depth, kDefaultDepth));
    answer.memory_fd = memory->memory_fd();
    rt::Queue& inner = worker.worker.attach_queue(session->session, std::move(memory));
    {
      const std::lock_guard lock(worker.mutex);
      *queue = session->queues.emplace_back(new mlengine_queue{*session, inner}).get();
    }
    answer.depth = inner.memory().depth();
    answer.doorbell_fd = inner.memory().doorbell_fd();
    answer.wake_fd = inner.memory().wake_fd();
    answer.handle = inner.handle;
    std::memcpy(static_cast<void*>(info), &answer, std::min<std::size_t>(info->size, sizeof(answer)));
  });
}

void mlengine_queue_destroy(struct mlengine_queue* queue) {
  if (queue == nullptr) return;
  mlengine_session& session = queue->session;
  session.worker.worker.destroy_queue(queue->queue);
  const std::lock_guard lock(session.worker.mutex);
  forget(session.queues, queue);
}

int32_t mlengine_arena_add(struct mlengine_session* session, void* base, uint64_t bytes, uint32_t* arena) {
  return guarded([&] { *arena = session->worker.worker.add_arena(session->session, base, bytes); });
}

int32_t mlengine_file_add(struct mlengine_session* session, const void* base, uint64_t bytes,
                          void (*release)(void* context), void* context, uint32_t* arena) {
  return guarded([&] {
    std::shared_ptr<const void> mapping(context, release);
    *arena = session->worker.worker.add_file(session->session, const_cast<void*>(base), bytes, std::move(mapping));
  });
}

int32_t mlengine_arena_remove(struct mlengine_session* session, uint32_t arena) {
  return guarded([&] { session->worker.worker.remove_arena(session->session, arena); });
}

}  // extern "C"
