// The memory of a queue as mld makes it: submission pages that the client writes, the state page that mld writes, and
// the two eventfds. The worker adds the completion pages.
#pragma once

#include <cstdint>

#include "kernel/uapi/mlaccel_ring.h"
#include "libmlclient/transport/unique_fd.h"

namespace ml::runtime {
class EventBell;
}

namespace ml::daemon {

class QueuePages {
 public:
  // An active queue of a worker of that generation. Throws io or no_space when the system refuses.
  QueuePages(std::uint32_t depth, std::uint32_t generation);
  ~QueuePages();
  QueuePages(const QueuePages&) = delete;
  QueuePages& operator=(const QueuePages&) = delete;

  // What all pages take together, the worker's included. `depth` is a valid one.
  static std::uint64_t bytes(std::uint32_t depth);

  // Open until handed over.
  int submission() const { return submission_.get(); }
  int state() const { return state_fd_.get(); }
  int doorbell() const { return doorbell_.get(); }
  int wake() const { return wake_.get(); }
  // Client and worker have them now; mld keeps its mapping of the state and what wakes the client.
  void handed_over();

  // MLRING_STATE_*, once: later calls change nothing. LOST counts the generation up. Wakes the client.
  void end(std::uint32_t state, runtime::EventBell& bell);

 private:
  transport::UniqueFd submission_, state_fd_, doorbell_, wake_;
  mlring_state* page_ = nullptr;
};

}  // namespace ml::daemon
