#include "engine/runtime/task_threads.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace ml::runtime {

TaskThreads::TaskThreads(const TaskThreadsOptions& options, Make make)
    : options_(options), make_(std::move(make)), most_(std::max(options.most, options.side_by_side)) {
  while (threads_.size() < options_.side_by_side) threads_.push_back(make_(threads_.size()));
}

bool TaskThreads::has_results() const {
  return std::ranges::any_of(threads_, [](const std::unique_ptr<TaskThread>& thread) { return thread->has_results(); });
}

// A free one, or the one that works for this queue already: nobody waits behind another's task.
TaskThread* TaskThreads::thread_for(const FairShare::Place& place, std::uint64_t now) {
  TaskThread* idle = nullptr;
  TaskThread* own = nullptr;
  std::size_t working = 0, long_of_user = 0;
  for (const std::unique_ptr<TaskThread>& thread : threads_) {
    if (thread->outstanding() == 0) {
      if (idle == nullptr) idle = thread.get();
      continue;
    }
    if (now - thread->since() < options_.patience)
      ++working;
    else if (thread->user() == place.user)
      ++long_of_user;
    if (thread->serves(*place.queue) && thread->outstanding() < TaskThread::kDepth) own = thread.get();
  }
  if (long_of_user >= options_.long_of_one_user) {
    FairShare::hold_back(*place.user);
    return nullptr;
  }
  if (working < options_.side_by_side) {
    if (idle != nullptr) return idle;
    if (threads_.size() < most_ && add_thread()) return threads_.back().get();
  }
  return place.usual < options_.short_task ? own : nullptr;
}

bool TaskThreads::add_thread() {
  try {
    threads_.push_back(make_(threads_.size()));
    return true;
  } catch (const std::exception&) {  // no more threads or streams: they wait
    most_ = threads_.size();
    return false;
  }
}

std::uint64_t TaskThreads::next_relief(std::uint64_t now) const {
  if (!share_.anybody_waits()) return 0;
  std::uint64_t next = 0;
  for (const std::unique_ptr<TaskThread>& thread : threads_) {
    const std::uint64_t until = thread->since() + options_.patience;
    if (thread->outstanding() != 0 && until > now) next = next == 0 ? until : std::min(next, until);
  }
  return next;
}

}  // namespace ml::runtime
