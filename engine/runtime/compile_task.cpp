// The work of compile threads: graphs into programs, programs into plans.
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "engine/graph/binary.h"
#include "engine/runtime/arguments.h"
#include "engine/runtime/clock.h"
#include "engine/runtime/queue.h"
#include "engine/runtime/run_task.h"
#include "engine/runtime/status.h"
#include "ml/error.h"

namespace ml::runtime {
namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;

// A private copy: the client may rewrite the arena while the graph is parsed, and reuse it afterwards.
std::vector<std::byte> copy_of(const Argument& argument) { return {argument.host(), argument.host() + argument.bytes}; }

// Of a mapped file: the pages that lie within come back from it when they are read again.
void drop_pages(std::span<const std::byte> bytes) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(bytes.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

// What nobody writes is used where it is; everything else as a copy.
std::shared_ptr<const Blob> blob_of(const Argument& argument) {
  const std::span<const std::byte> bytes(argument.host(), argument.bytes);
  const std::shared_ptr<const void>& file = argument.arena->file;
  if (!file) return Blob::copy_of(bytes);
  // The program keeps it mapped, so within the program the address names the content.
  return std::make_shared<const Blob>(
      bytes, file, "mapped:" + std::to_string(reinterpret_cast<std::uintptr_t>(bytes.data())), drop_pages);
}

void compile_graph(Task& task, Device& device, const std::shared_ptr<MemoryBudget>& memory,
                   const std::shared_ptr<Tuner>& tuner, const Checkpoint& checkpoint) {
  const std::span<const Argument> arguments(task.call->arguments);
  const std::vector<std::byte> bytes = copy_of(arguments[0]);
  std::vector<std::shared_ptr<const Blob>> blobs;
  for (const Argument& blob : arguments.subspan(1)) blobs.push_back(blob_of(blob));
  const SessionLimits& limits = task.queue->session().limits;
  const Graph graph = deserialize(bytes, blobs);
  checkpoint();
  task.made_program = std::make_shared<Program>(
      graph, device, ProgramOptions{limits.plans, limits.scratch_bytes, memory, tuner}, checkpoint);
  for (const Argument& argument : arguments) task.bytes += argument.bytes;
}

}  // namespace

void compile_task(Task& task, Device& device, const std::shared_ptr<MemoryBudget>& memory,
                  const std::shared_ptr<Tuner>& tuner) {
  task.started = monotonic_now();
  const std::uint64_t limit = task.queue->session().limits.compile_ms;
  const Checkpoint checkpoint = [&task, limit] {
    if (task.progress.stopped()) throw Error(Code::cancelled, "stopped");
    if (limit == 0 || monotonic_now() - task.started <= limit * kMillisecond) return;
    throw Error(Code::timeout,
                "compiling took longer than " + std::to_string(limit) + " ms, the most that the session may take", {},
                "compile a smaller graph, or ask for a higher limit");
  };
  try {
    checkpoint();
    if (task.descriptor.opcode == MLRING_OP_COMPILE)
      compile_graph(task, device, memory, tuner, checkpoint);
    else
      task.call->plan = task.call->program->prepare(task.call->shapes, checkpoint);
  } catch (...) {
    Failure failure = describe_failure(std::current_exception());
    task.status = failure.status;
    task.message = std::move(failure.message);
  }
  task.ended = monotonic_now();
}

}  // namespace ml::runtime
