#include "engine/runtime/queue.h"

#include <algorithm>
#include <cassert>
#include <string>
#include <utility>

#include "engine/runtime/arguments.h"
#include "engine/runtime/clock.h"
#include "engine/runtime/ring_thread.h"

namespace ml::runtime {
namespace {

// Arguments looked at before other queues have their turn; one descriptor may have more.
constexpr std::size_t kArguments = 256;
// Deadlines are looked at no more often than this, and than a deep queue makes bearable; ns.
constexpr std::uint64_t kDeadlineInterval = 50'000;
constexpr std::uint64_t kDeadlineCost = 100;

constexpr std::uint32_t kNoSlot = ~std::uint32_t{0};
constexpr std::string_view kAwaitedEnded = "the queue that it waits for has ended";

bool needs_call(std::uint32_t opcode) {
  return opcode == MLRING_OP_COMPILE || opcode == MLRING_OP_EXECUTE || opcode == MLRING_OP_COPY ||
         opcode == MLRING_OP_FREE;
}

std::string_view why_stopped(const Progress& progress) {
  switch (progress.state()) {
    case Progress::expired: return "the deadline passed";
    case Progress::aborted: return "its queue ended";
    default: return "cancelled";
  }
}

}  // namespace

Queue::Queue(RingThread& thread, Session& session, std::unique_ptr<QueueMemory> memory, QueueOptions options)
    : thread_(thread),
      session_(session),
      memory_(std::move(memory)),
      options_(std::move(options)),
      ring_(memory_->worker_pages(), memory_->wake_fd(), memory_->foreign() ? &thread.bell() : nullptr,
            memory_->owner()),
      tasks_(memory_->depth()),
      numbers_(memory_->depth(), kNoSlot) {
  for (std::uint32_t slot = 0; slot < tasks_.size(); ++slot) {
    tasks_[slot].queue = this;
    tasks_[slot].slot = slot;
  }
  for (FairShare::Place* place : {&turn, &compile_turn}) {
    place->queue = this;
    place->priority = options_.priority;
  }
}

Queue::~Queue() { assert(drained() && awaited_by_.empty()); }

bool Queue::poll(std::uint64_t now) {
  if (ended_) return false;
  if (next_in_batch_ == batch_size_) {
    next_in_batch_ = 0;
    batch_size_ = ring_.take(batch_, now);
  }
  const bool any = next_in_batch_ != batch_size_;
  for (std::size_t arguments = 0; next_in_batch_ != batch_size_ && arguments < kArguments;) {
    const TakenDescriptor& taken = batch_[next_in_batch_++];
    arguments += taken.descriptor.argument_count;
    accept(taken, now);
  }
  end_if_faulted();
  if (!any && !ring_.unpublished()) return false;
  thread_.note_moved(*this);
  unpark(now);
  return true;
}

void Queue::end_if_faulted() {
  if (ring_.fault() == MLRING_FAULT_NONE || ended_) return;
  end(MLRING_STATE_FAULTED);
  if (options_.faulted) options_.faulted(ring_.fault());
}

void Queue::publish(std::uint64_t now) {
  if (ended_) return;
  if (busy_ != 0) ring_.add_busy(std::exchange(busy_, 0));
  ring_.publish();  // what was refused while taking, too
  end_if_faulted();
  // A client that got an answer soon asks again.
  if (std::exchange(answered_, false)) unpark(now);
}

// ---- taking -------------------------------------------------------------------------------------------------------

void Queue::accept(const TakenDescriptor& taken, std::uint64_t now) {
  Task& task = tasks_[taken.slot];
  assert(task.stage == Task::Stage::none && task.call == nullptr);
  task.sequence = taken.sequence;
  task.descriptor = taken.descriptor;
  task.status = MLRING_OK;
  task.bytes = 0;
  task.started = task.ended = now;
  task.charged = 0;
  task.progress.reset();
  task.stage = Task::Stage::ordered;
  remember(task);
  if (task.descriptor.deadline != 0) {
    if (task.descriptor.deadline <= now) return finish(task, MLRING_TIMEOUT, "the deadline had passed already");
    if (next_deadline == 0 || task.descriptor.deadline < next_deadline)
      thread_.note_deadline(*this, task.descriptor.deadline);
  }
  if (needs_call(task.descriptor.opcode)) task.call = thread_.acquire_call();
  if (!prepare(task)) return finish(task);
  proceed(task);
}

void Queue::remember(Task& task) {
  std::uint32_t& first = numbers_[task.sequence & (numbers_.size() - 1)];
  task.next_of_number = std::exchange(first, task.slot);
}

void Queue::forget(const Task& task) {
  std::uint32_t* at = &numbers_[task.sequence & (numbers_.size() - 1)];
  while (*at != task.slot) at = &tasks_[*at].next_of_number;
  *at = task.next_of_number;
}

Task* Queue::find(std::uint64_t sequence) {
  std::uint32_t slot = numbers_[sequence & (numbers_.size() - 1)];
  while (slot != kNoSlot && tasks_[slot].sequence != sequence) slot = tasks_[slot].next_of_number;
  return slot == kNoSlot ? nullptr : &tasks_[slot];
}

bool Queue::prepare(Task& task) {
  switch (task.descriptor.opcode) {
    case MLRING_OP_EXECUTE: return prepare_execute(task);
    case MLRING_OP_FREE: return prepare_free(task);
    case MLRING_OP_WAIT: return prepare_wait(task, awaited_by(task));
    case MLRING_OP_ALLOC: return prepare_alloc(task);
    case MLRING_OP_COPY:
      if (!take_arguments(task, session_) || !match_copy(task)) return false;
      break;
    case MLRING_OP_COMPILE:
      if (!take_arguments(task, session_) || !match_compile(task, session_.limits)) return false;
      for (std::size_t i = 1; i < task.call->arguments.size(); ++i) task.charged += task.call->arguments[i].bytes;
      if (!session_.charge(task.charged)) {
        task.fail(MLRING_NO_SPACE, session_.refusal(task.charged));
        task.charged = 0;
        return false;
      }
      break;
    default: return true;  // NOP, CANCEL
  }
  for (const Argument& argument : task.call->arguments) {
    if (argument.memory != nullptr) touch(task, argument.record.handle);
  }
  return true;
}

bool Queue::prepare_execute(Task& task) {
  const Object* object = session_.handles.find(task.descriptor.handle);
  if (object == nullptr || !object->program) {
    task.fail(MLRING_NOT_FOUND, "the handle names no program, or no longer");
    return false;
  }
  task.call->program = object->program;
  if (!take_arguments(task, session_) || !match_program(task, *task.call->program)) return false;
  touch(task, task.descriptor.handle);
  for (const Argument& argument : task.call->arguments) {
    if (argument.memory != nullptr) touch(task, argument.record.handle);
  }
  return true;
}

bool Queue::prepare_free(Task& task) {
  const Object* object = session_.handles.find(task.descriptor.handle);
  if (object == nullptr || object->queue != nullptr) {
    task.fail(MLRING_NOT_FOUND, object == nullptr ? "there is no such handle, or no longer" : "a queue isn't freed");
    return false;
  }
  touch(task, task.descriptor.handle);
  task.call->freed = session_.handles.retire(task.descriptor.handle);
  task.call->frees = true;
  task.call->charged_freed = task.call->freed.charged;
  return true;
}

Queue* Queue::awaited_by(const Task& task) const {
  const Object* object = session_.handles.find(task.descriptor.handle);
  return object == nullptr || object->queue == nullptr || object->queue->ended() ? nullptr : object->queue;
}

bool Queue::prepare_wait(Task& task, const Queue* awaited) {
  if (awaited == nullptr) {
    task.fail(MLRING_NOT_FOUND, "the handle names no queue, or no longer");
    return false;
  }
  if (awaited == task.queue && task.descriptor.operand >= task.sequence) {
    task.fail(MLRING_INVALID_ARGUMENT, "it would wait for itself");
    return false;
  }
  return true;
}

bool Queue::prepare_alloc(Task& task) {
  if (!session_.charge(task.descriptor.operand)) {
    task.fail(MLRING_NO_SPACE, session_.refusal(task.descriptor.operand));
    return false;
  }
  task.charged = task.descriptor.operand;
  return true;
}

bool Queue::in_flight(const Call::Before& before) const {
  const Task& task = tasks_[before.slot];
  return task.stage != Task::Stage::none && task.sequence == before.sequence;
}

void Queue::touch(Task& task, mlring_handle touched) {
  if (last_touch_.size() <= touched.index) last_touch_.resize(std::size_t{touched.index} + 1, {0, 0});
  Call::Before& last = last_touch_[touched.index];
  if (last.sequence == task.sequence) return;
  if (in_flight(last)) task.call->before.push_back(last);
  last = {task.slot, task.sequence};
}

// ---- order --------------------------------------------------------------------------------------------------------

void Queue::proceed(Task& task) {
  task.stage = Task::Stage::ordered;
  const bool after = (task.descriptor.flags & MLRING_AFTER) != 0;
  if (after && ring_.completed_sequence() != task.sequence) return after_.push_back(task);
  if (Call* call = task.call) {
    for (; call->waited_for < call->before.size(); ++call->waited_for) {
      const Call::Before& before = call->before[call->waited_for];
      if (in_flight(before)) return tasks_[before.slot].waiters.push_back(task);
    }
  }
  start(task);
}

bool Queue::settle() {
  bool any = false;
  for (;;) {
    if (!after_.empty() && ring_.completed_sequence() == after_.front()->sequence)
      unblocked_.push_back(*after_.pop_front());
    Task* task = unblocked_.pop_front();
    if (task == nullptr) break;
    any = true;
    proceed(*task);
  }
  return wake_awaiting() || any;
}

// WAITs, of any queue, for what this one has completed by now; all of them when it has ended. True: there were some.
bool Queue::wake_awaiting() {
  bool any = false;
  const std::uint64_t completed = ring_.completed_sequence();
  while (!awaited_by_.empty() && (ended_ || awaited_by_.begin()->first < completed)) {
    Task& task = *awaited_by_.begin()->second;
    any = true;
    if (ended_)
      task.queue->finish(task, MLRING_NOT_FOUND, kAwaitedEnded);
    else
      task.queue->finish(task);
  }
  return any;
}

// ---- doing --------------------------------------------------------------------------------------------------------

void Queue::start(Task& task) {
  switch (task.descriptor.opcode) {
    case MLRING_OP_NOP: return finish(task);
    case MLRING_OP_CANCEL: return cancel(task);
    case MLRING_OP_COMPILE: return compile(task);
    case MLRING_OP_EXECUTE: return start_execute(task);
    case MLRING_OP_WAIT: return start_wait(task);
    default: return make_ready(task);  // COPY, ALLOC, FREE
  }
}

void Queue::start_wait(Task& task) {
  Queue* awaited = awaited_by(task);
  if (awaited == nullptr) return finish(task, MLRING_NOT_FOUND, kAwaitedEnded);
  if (task.descriptor.operand < awaited->ring_.completed_sequence()) return finish(task);
  task.stage = Task::Stage::waiting;
  task.awaited = awaited;
  task.awaited_at = awaited->awaited_by_.emplace(task.descriptor.operand, &task);
  waiting_.push_back(task);
}

void Queue::start_execute(Task& task) {
  Call& call = *task.call;
  if (!call.plan) {
    call.plan = call.program->find([&call](std::size_t i, const Shape& shape) {
      const mlring_argument& record = call.arguments[i].record;
      for (int axis = 0; axis < shape.rank(); ++axis) {
        if (record.dims[axis] != static_cast<std::uint64_t>(shape[axis])) return false;
      }
      return true;
    });
  }
  if (!call.plan) {
    for (std::size_t i = 0; i < call.program->inputs().size(); ++i) {
      const mlring_argument& record = call.arguments[i].record;
      Shape shape;
      for (std::uint32_t axis = 0; axis < record.rank; ++axis)
        shape.append(static_cast<std::int64_t>(record.dims[axis]));
      call.shapes.push_back(shape);
    }
    return compile(task);
  }
  if (!check_capacities(task, *call.plan)) return finish(task);
  make_ready(task);
}

void Queue::make_ready(Task& task) { wait_for_thread(task, Task::Stage::ready); }
void Queue::compile(Task& task) { wait_for_thread(task, Task::Stage::uncompiled); }

FairShare& Queue::share_of(const FairShare::Place& place) {
  return (&place == &turn ? thread_.executors() : thread_.compilers()).share();
}

void Queue::wait_for_thread(Task& task, Task::Stage stage) {
  FairShare::Place& place = stage == Task::Stage::ready ? turn : compile_turn;
  task.stage = stage;
  list_of(place).push_back(task);
  share_of(place).wait(place);
}

Task& Queue::give(FairShare::Place& place, std::uint64_t now) {
  TaskList& list = list_of(place);
  Task& task = *list.pop_front();
  task.stage = &place == &turn ? Task::Stage::running : Task::Stage::compiling;
  task.share = share_of(place).give(place);
  if (list.empty()) share_of(place).stop_waiting(place);
  if (away_++ == 0) ring_.set_running_since(now);
  return task;
}

void Queue::come_back(Task& task, std::uint64_t now) {
  ring_.set_running_since(--away_ == 0 ? 0 : now);
  if (away_ == 0 && when_drained_) thread_.post(std::exchange(when_drained_, nullptr));
  const bool was_compiling = task.stage == Task::Stage::compiling;
  FairShare::Place& place = was_compiling ? compile_turn : turn;
  const std::uint64_t taken = task.ended - task.started;
  share_of(place).take_back(place, task.share, taken);
  (was_compiling ? session_.compile_ns : session_.busy_ns).add(taken);
  if (!was_compiling) {
    busy_ += taken;
    thread_.busy_ns.add(taken);
  }
  if (was_compiling && task.progress.stopped()) {
    const bool expired = task.progress.state() == Progress::expired;
    return finish(task, expired ? MLRING_TIMEOUT : MLRING_CANCELLED, why_stopped(task.progress));
  }
  if (was_compiling && task.descriptor.opcode == MLRING_OP_EXECUTE && task.status == MLRING_OK) {
    task.call->program->keep(task.call->plan);
    return start_execute(task);
  }
  finish(task);
}

void Queue::cancel(Task& task) {
  Task* target = find(task.descriptor.operand);
  if (target == nullptr || target == &task || target->descriptor.opcode == MLRING_OP_FREE) return finish(task);
  if (target->stage == Task::Stage::compiling || target->stage == Task::Stage::running) {
    task.bytes = target->progress.cancel() ? 1 : 0;
    return finish(task);
  }
  task.bytes = 1;
  finish(*target, MLRING_CANCELLED, "cancelled");
  finish(task);
}

std::uint64_t Queue::expire(std::uint64_t now) {
  std::uint64_t next = 0;
  for (Task& task : tasks_) {
    const std::uint64_t deadline = task.descriptor.deadline;
    if (task.stage == Task::Stage::none || deadline == 0) continue;
    if (deadline > now) {
      next = next == 0 ? deadline : std::min(next, deadline);
    } else if (task.stage == Task::Stage::compiling || task.stage == Task::Stage::running) {
      task.progress.expire();
    } else if (task.descriptor.opcode != MLRING_OP_FREE) {
      finish(task, MLRING_TIMEOUT, "the deadline passed before it began");
    }
  }
  return next == 0 ? 0 : std::max(next, now + kDeadlineInterval + kDeadlineCost * tasks_.size());
}

// ---- answering ----------------------------------------------------------------------------------------------------

void Queue::finish(Task& task, std::int32_t status, std::string_view message) {
  task.fail(status, message);
  finish(task);
}

void Queue::finish(Task& task) {
  if (task.list != nullptr) task.list->remove(task);
  if (task.stage == Task::Stage::ready && ready_.empty()) share_of(turn).stop_waiting(turn);
  if (task.stage == Task::Stage::uncompiled && uncompiled_.empty()) share_of(compile_turn).stop_waiting(compile_turn);
  if (task.awaited != nullptr) task.awaited->awaited_by_.erase(task.awaited_at);
  task.awaited = nullptr;
  forget(task);
  mlring_completion answer{};
  answer.result = keep_result(task);
  answer.status = task.status;
  count(task);
  answer.bytes = task.bytes;
  answer.started = task.started;
  answer.ended = task.ended;
  if (Call* call = task.call) {
    // TOO_SMALL that came up while it ran tells what is needed, too.
    if (task.status == MLRING_OK && task.descriptor.opcode == MLRING_OP_EXECUTE && call->outputs_made.empty())
      answer_outputs(*call, call->plan->outputs());
    if ((task.status == MLRING_OK || task.status == MLRING_TOO_SMALL) && !call->outputs_made.empty())
      answer_outputs(*call, call->outputs_made);
    if (task.status == MLRING_OK && task.descriptor.opcode == MLRING_OP_COPY) {
      const mlring_argument& from = call->arguments[0].record;
      mlring_answer_argument(&call->table[1], from.rank, from.dims, call->arguments[0].bytes);
    }
    release_arguments(*call, [this](std::unique_ptr<Arena> arena) { thread_.free(std::move(arena)); });
    thread_.release_call(call);
    task.call = nullptr;
  }
  task.stage = Task::Stage::none;
  ring_.complete(task.slot, answer, task.message);
  task.message.clear();
  answered_ = true;
  thread_.note_moved(*this);
  while (Task* waiter = task.waiters.pop_front()) unblocked_.push_back(*waiter);
}

void Queue::count(const Task& task) {
  switch (task.status) {
    case MLRING_OK:
      if (task.descriptor.opcode == MLRING_OP_EXECUTE) session_.executions.add(1);
      break;
    case MLRING_CANCELLED:
    case MLRING_TIMEOUT: break;
    default: session_.failures.add(1);
  }
}

// The handle of what the task made, if it did and the table has room; otherwise what it paid is given back.
mlring_handle Queue::keep_result(Task& task) {
  if (task.call != nullptr && task.call->frees) {
    session_.discharge(task.call->charged_freed);
    session_.handles.recycle(task.descriptor.handle.index);
  }
  Object object{std::move(task.made_memory), std::move(task.made_program), nullptr, task.charged};
  task.made_memory = nullptr;
  task.made_program = nullptr;
  if (task.status == MLRING_OK && (object.memory || object.program)) {
    if (const std::optional<mlring_handle> made = session_.handles.add(std::move(object))) return *made;
    task.fail(MLRING_NO_SPACE, "the session's " + std::to_string(session_.limits.handles) + " handles are used up");
  }
  session_.discharge(task.charged);
  task.charged = 0;
  return {};
}

// ---- ending and parking -------------------------------------------------------------------------------------------

void Queue::end(std::uint32_t state) {
  if (ended_) return;
  ended_ = true;
  thread_.note_moved(*this);
  for (Task& task : tasks_) {
    if (task.stage == Task::Stage::none) continue;
    if (task.stage == Task::Stage::compiling || task.stage == Task::Stage::running)
      task.progress.abort();
    else
      finish(task, MLRING_CANCELLED, "its queue ended");
  }
  wake_awaiting();
  memory_->set_state(state);
  if (memory_->foreign()) ring_.wake_client();
}

void Queue::close(std::uint32_t state, std::function<void()> drained) {
  closing_ = true;
  end(state);
  if (away_ == 0)
    drained();
  else
    when_drained_ = std::move(drained);
}

bool Queue::park_if_idle(std::uint64_t now, std::uint64_t limit) {
  if (now - last_active_ < limit) return false;
  if (next_in_batch_ != batch_size_) return false;
  return ring_.park();  // with what came meanwhile it stays awake
}

void Queue::unpark(std::uint64_t now) {
  if (ended_) return;
  last_active_ = now;
  if (!ring_.parked()) return;
  ring_.unpark();
  thread_.poller().woke(*this);
}

}  // namespace ml::runtime
