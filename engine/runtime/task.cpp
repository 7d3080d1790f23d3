#include "engine/runtime/task.h"

#include <cassert>

namespace ml::runtime {

void TaskList::push_back(Task& task) {
  assert(task.list == nullptr);
  task.list = this;
  task.previous = last_;
  task.next = nullptr;
  (last_ == nullptr ? first_ : last_->next) = &task;
  last_ = &task;
}

void TaskList::remove(Task& task) {
  assert(task.list == this);
  (task.previous == nullptr ? first_ : task.previous->next) = task.next;
  (task.next == nullptr ? last_ : task.next->previous) = task.previous;
  task.list = nullptr;
}

Task* TaskList::pop_front() {
  Task* task = first_;
  if (task != nullptr) remove(*task);
  return task;
}

void Call::clear() {
  arguments.clear();
  table = nullptr;
  table_arena = nullptr;
  memories.clear();
  program.reset();
  plan.reset();
  outputs_made.clear();
  shapes.clear();
  frees = false;
  freed = {};
  charged_freed = 0;
  before.clear();
  waited_for = 0;
}

}  // namespace ml::runtime
