// From the records in a client's arena to arguments that can be used: copied once, the copy checked, the copy used.
#pragma once

#include <memory>
#include <string>

#include "engine/runtime/session.h"
#include "engine/runtime/task.h"

namespace ml::runtime {

// Copies the descriptor's table into the task's call, checks every record and finds what it names; arenas are counted
// as used until release_arguments(). False: task.status and message say why.
bool take_arguments(Task& task, Session& session);
// Ends the uses. Arenas that were removed meanwhile and aren't used any more go to `free`.
template <class Free>
void release_arguments(Call& call, Free free) {
  const auto release = [&free](Arena* arena) {
    if (arena == nullptr || --arena->uses != 0 || !arena->removed) return;
    free(std::unique_ptr<Arena>(arena));
  };
  for (const Argument& argument : call.arguments) release(argument.arena);
  release(call.table_arena);
  call.arguments.clear();
  call.table_arena = nullptr;
}

// Whether the arguments are what the program takes: how many, which way, dtypes, ranks, donated pairs.
bool match_program(Task& task, const Program& program);
// Whether each output whose type is known has room for what the plan makes; writes dims and needed back when one has
// not. Of the others all of their room counts as used.
bool check_capacities(Task& task, const StagedPlan& plan);
// The same for one output whose type has become known; false: task.status and message say why.
bool check_capacity(Task& task, std::size_t argument, const TensorType& type);
// Tells the client what each output is, as far as it is known.
void answer_outputs(const Call& call, std::span<const TensorType> outputs);
// Whether what is written overlaps nothing else, but for donated pairs. For an executor.
bool check_overlaps(Task& task, std::size_t inputs);

// COPY's two and COMPILE's list.
bool match_copy(Task& task);
bool match_compile(Task& task, const SessionLimits& limits);

}  // namespace ml::runtime
