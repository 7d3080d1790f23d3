// A descriptor on its way from the ring to its completion.
//
// The ring thread owns it, but for the time between handing it to an executor or the compile thread and getting it
// back.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/runtime/handles.h"
#include "engine/runtime/staged_plan.h"
#include "kernel/uapi/mlaccel_ring.h"

namespace ml::runtime {

struct Task;

// Tasks in a row; a task is in at most one list.
class TaskList {
 public:
  bool empty() const { return first_ == nullptr; }
  Task* front() const { return first_; }
  void push_back(Task& task);
  void remove(Task& task);
  Task* pop_front();

 private:
  Task* first_ = nullptr;
  Task* last_ = nullptr;
};

// One argument: a private copy of its record, and where its bytes are.
struct Argument {
  mlring_argument record;
  Arena* arena = nullptr;          // or
  const Memory* memory = nullptr;  // kept alive by the call
  std::uint64_t bytes = 0;         // of the actual dims
  std::byte* host() const { return arena == nullptr ? nullptr : arena->base + record.offset; }
  // On the device; with a null buffer for an arena that the device can't see.
  BufferSpan span() const {
    return {arena != nullptr ? arena->buffer.get() : memory->buffer.get(), record.offset, bytes};
  }
};

// What a task holds besides its descriptor. Calls are used again, so that their vectors keep their capacity.
struct Call {
  std::vector<Argument> arguments;
  mlring_argument* table = nullptr;  // the client's records, written back to
  Arena* table_arena = nullptr;
  std::vector<std::shared_ptr<Memory>> memories;
  std::shared_ptr<Program> program;
  std::shared_ptr<const StagedPlan> plan;
  std::vector<TensorType> outputs_made;  // where the plan doesn't know all of their types; empty otherwise
  std::vector<Shape> shapes;             // that a plan is to be made for
  // FREE: the object whose handle is gone already, and what the session gets back.
  bool frees = false;
  Object freed;
  std::uint64_t charged_freed = 0;

  // Earlier tasks of the queue that touch the same handles.
  struct Before {
    std::uint32_t slot;
    std::uint64_t sequence;
  };
  std::vector<Before> before;
  std::size_t waited_for = 0;  // how many of them are done

  // Room for an executor.
  std::vector<BufferSpan> inputs, outputs;
  std::vector<std::uint32_t> order;

  // Gives everything back; capacity stays.
  void clear();
};

struct Task {
  enum class Stage : std::uint8_t {
    none,        // the slot is free
    ordered,     // behind earlier tasks
    waiting,     // a WAIT whose queue has not got there
    uncompiled,  // to be given to a compile thread
    compiling,   // with a compile thread
    ready,       // to be given to an executor
    running,     // with an executor
  };

  Queue* queue = nullptr;
  std::uint32_t slot = 0;
  Stage stage = Stage::none;
  std::uint64_t sequence = 0;
  mlring_descriptor descriptor{};
  Call* call = nullptr;
  std::uint32_t next_of_number = 0;  // the queue's: see Queue::find
  // Of a WAIT that waits: the queue that it waits for, and where it stands there.
  Queue* awaited = nullptr;
  std::multimap<std::uint64_t, Task*>::iterator awaited_at{};
  Progress progress;

  TaskList* list = nullptr;  // that it is in
  Task* previous = nullptr;
  Task* next = nullptr;
  TaskList waiters;  // later tasks of the queue that touch a handle of this one

  // The answer, filled in by whoever runs it.
  std::int32_t status = MLRING_OK;
  std::uint64_t bytes = 0;
  std::uint64_t started = 0;
  std::uint64_t ended = 0;
  std::string message;
  std::shared_ptr<Memory> made_memory;
  std::shared_ptr<Program> made_program;
  std::uint64_t charged = 0;  // to the session, given back unless the task makes something of it
  std::uint64_t share = 0;    // of device time that its user was charged with in advance, ns

  void fail(std::int32_t why, std::string_view text) {
    status = why;
    message = text;
  }
};

}  // namespace ml::runtime
