// Which model is loaded on which worker, or on its way there. Whoever wants one that is being loaded waits for it;
// nothing here waits for a worker.
//
// Models stay where they were loaded until they are in the way: a worker keeps as many as fit half of its memory, and
// when it has no room for one it lets go of the others, those first that nobody has asked for for the longest time.
// Sessions that have such a model open keep it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "daemon/workers/worker_process.h"

namespace ml::daemon {

class Loads {
 public:
  using Done = std::function<void(const Error* error)>;
  using Prepare = std::function<void(Done prepared)>;

  // Has `worker` load the file at `path` if it has not. `prepare` runs first, once however many ask meanwhile.
  // `session` (0: none) is whose wish it is, should the worker die of it.
  void load(WorkerProcess& worker, std::uint64_t session, std::uint64_t model, const std::string& path,
            std::uint64_t bytes, const Prepare& prepare, Done done);
  // Of what is not there: nothing. Of what is being loaded: once that is over.
  void unload(WorkerProcess& worker, std::uint64_t model, Done done);
  void worker_died(WorkerProcess& worker);

  std::vector<std::string> devices_with(std::uint64_t model) const;
  // Called after a model came to or left a worker.
  std::function<void(std::uint64_t model)> on_change;

 private:
  struct Load {
    WorkerProcess* worker;  // null: died
    std::uint64_t session;
    std::uint64_t model;
    std::string path;
    std::uint64_t bytes;
    std::uint64_t used;  // when it was last asked for, as a count
    bool there = false;
    std::vector<Done> waiting;
    std::vector<Done> unloading;  // asked for while it was being loaded
  };
  using Key = std::pair<WorkerProcess*, std::uint64_t>;

  void send(const std::shared_ptr<Load>& load);
  // Unloads the one of that worker that nobody has asked for for the longest time; false: there is none but `but`.
  bool unload_oldest(WorkerProcess& worker, const Load& but);
  void make_room(const Load& load);
  void answered(const std::shared_ptr<Load>& load, const Error* error);
  void finish(const std::shared_ptr<Load>& load, const Error* error);
  void changed(std::uint64_t model) {
    if (on_change) on_change(model);
  }

  std::map<Key, std::shared_ptr<Load>> loads_;
  std::uint64_t clock_ = 0;
  std::shared_ptr<Loads*> self_ = std::make_shared<Loads*>(this);  // answers that come too late find it gone
};

}  // namespace ml::daemon
