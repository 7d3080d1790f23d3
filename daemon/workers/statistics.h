// What workers know of themselves and their sessions, asked of several at once.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "daemon/loop/loop.h"
#include "daemon/workers/worker_process.h"

namespace ml::daemon {

struct WorkerStatistics {
  worker_protocol::SessionStatistics worker;  // its counters; of `entries` see below
  std::vector<worker_protocol::SessionEntry> sessions;
};
// A worker that is not ready, died, or did not answer in time is missing. The pointers are only names: a worker may
// have gone meanwhile.
using Statistics = std::map<const WorkerProcess*, WorkerStatistics>;

// `done` is called from the loop, never from within, when all have answered or 500 ms are over: a worker that hangs
// holds up nobody for longer.
void gather_statistics(Loop& loop, const std::vector<WorkerProcess*>& workers, std::function<void(Statistics)> done);

}  // namespace ml::daemon
