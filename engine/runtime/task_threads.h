// The threads for one kind of work (executing, compiling), and who of those that wait is next to get one.
//
// So many tasks run side by side. One that has run for long no longer counts: one more thread takes its place, so that
// a task without end holds up nobody else. So many long tasks of one user hold back only that user.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/runtime/fair_share.h"
#include "engine/runtime/task_thread.h"

namespace ml::runtime {

struct TaskThreadsOptions {
  std::size_t side_by_side = 1;
  std::size_t most = 1;  // threads
  std::size_t long_of_one_user = 1;
  std::uint64_t patience = 0;  // after how long a task is a long one, ns
  // A queue whose tasks are shorter gets its next one onto the thread behind the one that runs, so that there is no gap
  // between them; whoever comes meanwhile waits for one more of them. ns
  std::uint64_t short_task = 0;
};

// Used by the ring thread.
class TaskThreads {
 public:
  using Make = std::function<std::unique_ptr<TaskThread>(std::size_t number)>;

  // The first ones are made here, more when they are needed.
  TaskThreads(const TaskThreadsOptions& options, Make make);

  FairShare& share() { return share_; }
  // Gives away tasks as long as there is a thread for the one that is next: nobody else's goes before it. give(place)
  // takes the place's next task out of its queue and calls share().give(). True: there were some.
  template <class Give>
  bool dispatch(std::uint64_t now, Give give) {
    if (!share_.anybody_waits()) return false;
    bool any = false;
    while (FairShare::Place* next = share_.next()) {
      TaskThread* thread = thread_for(*next, now);
      if (thread == nullptr && next->user->held_back) continue;
      if (thread == nullptr) break;
      any = true;
      FairShare::User& user = *next->user;
      thread->hand_over(give(*next), user, now);
    }
    return any;
  }
  // Calls come_back(task) for each that is done. True: there were some.
  template <class ComeBack>
  bool collect(std::uint64_t now, ComeBack come_back) {
    if (!share_.anything_given()) return false;
    bool any = false;
    for (const std::unique_ptr<TaskThread>& thread : threads_) {
      while (Task* task = thread->take_back(now)) {
        come_back(*task);
        any = true;
      }
    }
    return any;
  }
  bool has_results() const;
  bool busy() const { return share_.anybody_waits() || share_.anything_given(); }
  // When a task that waits gets a thread though none has come free; 0: none waits.
  std::uint64_t next_relief(std::uint64_t now) const;

 private:
  TaskThread* thread_for(const FairShare::Place& place, std::uint64_t now);
  bool add_thread();

  const TaskThreadsOptions options_;
  const Make make_;
  std::size_t most_;
  FairShare share_;
  std::vector<std::unique_ptr<TaskThread>> threads_;
};

}  // namespace ml::runtime
