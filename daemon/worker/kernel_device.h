// The kernel module as a worker process sees it: the file that mld was given for this worker. All the worker's queues
// are mapped from it, their doorbells and ends come out of it, and what sessions hold of the device is told to it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "engine/runtime/event_source.h"
#include "kernel/uapi/mlaccel_control.h"
#include "libmlclient/transport/unique_fd.h"
#include "ml/error.h"

namespace ml::runtime {
class Queue;
}

namespace ml::daemon {

class KernelDevice final : public runtime::EventSource {
 public:
  // Called on the ring thread, which they must not hold up.
  struct Listener {
    // A queue of this session ended because its client broke the rules (corrupt) or because it hung (timeout).
    std::function<void(std::uint64_t session, Code code)> queue_failed;
    // Somebody waits for memory that `wanted.uid` holds; freed() answers.
    std::function<void(const mlaccel_event& wanted)> memory_wanted;
    // mld has stopped this worker.
    std::function<void()> stopped;
  };

  // Throws io or invalid_argument when it is not a worker's file.
  KernelDevice(transport::UniqueFd file, Listener listener);

  int fd() const override { return file_.get(); }
  bool take(std::uint64_t now) override;

  std::uint32_t generation() const { return generation_; }
  // On the ring thread: whom the events of a queue are for; null: nobody.
  void listen(std::uint32_t queue, runtime::Queue* to);
  void freed(std::uint64_t request);
  // Maps a client's host memory, to read and to write, for as long as the caller likes. `file` must be a dma-buf of
  // exactly `bytes`, made on this device by the user `uid`: throws invalid_argument or denied otherwise.
  void* map_arena(int file, std::uint64_t bytes, std::uint32_t uid);

 private:
  void hand_on(const mlaccel_event& event, std::uint64_t now);
  void ended(runtime::Queue& queue, bool hung);

  transport::UniqueFd file_;
  Listener listener_;
  std::uint32_t generation_ = 0;
  std::map<std::uint32_t, runtime::Queue*> queues_;  // the ring thread's
};

// An ioctl that a signal does not interrupt: 0, or the error's number.
int kernel_call(int file, unsigned long request, void* argument);

}  // namespace ml::daemon
