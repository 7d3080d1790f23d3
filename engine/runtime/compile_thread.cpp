#include "engine/runtime/compile_thread.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "engine/graph/binary.h"
#include "engine/runtime/arguments.h"
#include "engine/runtime/clock.h"
#include "engine/runtime/queue.h"
#include "engine/runtime/status.h"

namespace ml::runtime {
namespace {

constexpr int kNiceness = 10;

// A private copy: the client may rewrite the arena while the graph is parsed, and reuse it afterwards.
std::vector<std::byte> copy_of(const Argument& argument) { return {argument.host(), argument.host() + argument.bytes}; }

void compile_graph(Task& task, Device& device) {
  const std::span<const Argument> arguments(task.call->arguments);
  const std::vector<std::byte> bytes = copy_of(arguments[0]);
  std::vector<std::shared_ptr<const Blob>> blobs;
  for (const Argument& blob : arguments.subspan(1)) blobs.push_back(Blob::copy_of({blob.host(), blob.bytes}));
  const SessionLimits& limits = task.queue->session().limits;
  task.made_program = std::make_shared<Program>(deserialize(bytes, blobs), device, limits.plans, limits.scratch_bytes);
  for (const Argument& argument : arguments) task.bytes += argument.bytes;
}

}  // namespace

void compile_task(Task& task, Device& device) {
  const std::uint64_t started = monotonic_now();
  const bool is_compile = task.descriptor.opcode == MLRING_OP_COMPILE;
  try {
    if (task.progress.stopped()) {
      // The ring thread says why.
    } else if (is_compile) {
      compile_graph(task, device);
    } else {
      task.call->plan = task.call->program->prepare(task.call->shapes);
    }
  } catch (...) {
    Failure failure = describe_failure(std::current_exception());
    task.status = failure.status;
    task.message = std::move(failure.message);
  }
  if (!is_compile && task.status == MLRING_OK) return;
  task.started = started;
  task.ended = monotonic_now();
}

CompileThread::CompileThread(Device& device, Wakeup& done) : device_(device), done_(done), thread_([this] { run(); }) {
  pthread_setname_np(thread_.native_handle(), "ml-compile");
}

CompileThread::~CompileThread() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void CompileThread::hand_over(Task& task) {
  {
    const std::lock_guard lock(mutex_);
    work_.push_back(&task);
  }
  changed_.notify_one();
}

Task* CompileThread::take_back() {
  if (!has_results()) return nullptr;
  const std::lock_guard lock(mutex_);
  Task* task = results_.front();
  results_.pop_front();
  has_results_.store(!results_.empty(), std::memory_order_release);
  return task;
}

void CompileThread::run() {
  // A thread may lower its own priority; where that is refused it compiles at the usual one.
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNiceness);
  for (;;) {
    Task* task = nullptr;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || !work_.empty(); });
      if (work_.empty()) return;
      task = work_.front();
      work_.pop_front();
    }
    compile_task(*task, device_);
    {
      const std::lock_guard lock(mutex_);
      results_.push_back(task);
      has_results_.store(true, std::memory_order_release);
    }
    done_.wake();
  }
}

}  // namespace ml::runtime
