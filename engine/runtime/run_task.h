// What threads do with the tasks that they are given: fill in the answers.
#pragma once

#include "engine/runtime/memory_budget.h"
#include "engine/runtime/stream_context.h"
#include "engine/runtime/task.h"

namespace ml::runtime {

// An executor: EXECUTE, COPY, ALLOC, and dropping what FREE took out of the table.
void run_task(Task& task, StreamContext& context);

// A compile thread. COMPILE: the program of the graph in the arguments. EXECUTE: the plan for call->shapes. Given up
// between two steps when the task is stopped, and past the session's limit.
void compile_task(Task& task, Device& device, const std::shared_ptr<MemoryBudget>& memory,
                  const std::shared_ptr<Tuner>& tuner);

}  // namespace ml::runtime
