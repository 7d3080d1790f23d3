#include "daemon/worker/kernel_device.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/runtime/queue.h"
#include "kernel/uapi/mlaccel_drm.h"

namespace ml::daemon {
namespace {

// Read together, and so often before the rings have their turn.
constexpr std::size_t kBatch = 32;
constexpr int kBatches = 4;

}  // namespace

int kernel_call(int file, unsigned long request, void* argument) {
  while (ioctl(file, request, argument) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

KernelDevice::KernelDevice(transport::UniqueFd file, Listener listener)
    : file_(std::move(file)), listener_(std::move(listener)) {
  mlaccel_worker_info info{};
  if (const int error = kernel_call(fd(), MLACCEL_WORKER_INFO, &info))
    throw Error(Code::invalid_argument,
                std::string("the file is no worker's of the kernel module: ") + std::strerror(error), "worker");
  generation_ = info.generation;
  const int flags = fcntl(fd(), F_GETFL);
  if (flags < 0 || fcntl(fd(), F_SETFL, flags | O_NONBLOCK) != 0)
    throw Error(Code::io, std::string("the kernel module's file: ") + std::strerror(errno), "worker");
}

bool KernelDevice::take(std::uint64_t now) {
  mlaccel_event events[kBatch];
  for (int i = 0; i < kBatches; ++i) {
    const ssize_t got = read(fd(), events, sizeof events);
    if (got == 0) {
      listener_.stopped();
      return false;
    }
    if (got < 0) return true;  // EAGAIN: there is nothing more
    const auto count = static_cast<std::size_t>(got) / sizeof(mlaccel_event);
    for (std::size_t at = 0; at < count; ++at) hand_on(events[at], now);
    if (count < kBatch) return true;
  }
  return true;
}

void KernelDevice::hand_on(const mlaccel_event& event, std::uint64_t now) {
  if ((event.bits & MLACCEL_EVENT_FREE) != 0) listener_.memory_wanted(event);
  const auto found = queues_.find(event.queue);
  if (found == queues_.end()) return;  // mapped and not attached yet, or detached and not unmapped yet
  if ((event.bits & MLACCEL_EVENT_ENDED) != 0) return ended(*found->second, (event.bits & MLACCEL_EVENT_HUNG) != 0);
  if ((event.bits & MLACCEL_EVENT_DOORBELL) != 0) found->second->unpark(now);
}

// Its client is gone or has destroyed it; or it was its own fault, and then its session goes too.
void KernelDevice::ended(runtime::Queue& queue, bool hung) {
  const bool known = queue.ended();
  const bool faulted = MLRING_LOAD(&queue.memory().worker_pages().state->state) == MLRING_STATE_FAULTED;
  queue.end(MLRING_STATE_CLOSED);
  if (!known && (hung || faulted))
    listener_.queue_failed(queue.session().limits.number, hung ? Code::timeout : Code::corrupt);
}

void KernelDevice::listen(std::uint32_t queue, runtime::Queue* to) {
  if (to == nullptr) {
    queues_.erase(queue);
    return;
  }
  queues_[queue] = to;
  // It may have been told already that this one has ended.
  if (MLRING_LOAD_ACQUIRE(&to->memory().worker_pages().state->state) != MLRING_STATE_ACTIVE) ended(*to, false);
}

void KernelDevice::freed(std::uint64_t request) {
  mlaccel_freed answer{request};
  kernel_call(fd(), MLACCEL_FREED, &answer);  // ENOENT: it was too late
}

void* KernelDevice::map_arena(int file, std::uint64_t bytes, std::uint32_t uid) {
  mlaccel_bo_look look{};
  look.fd = file;
  const int error = kernel_call(fd(), MLACCEL_BO_LOOK, &look);
  if (error != 0 || look.bo_flags != MLACCEL_BO_HOST)
    throw Error(Code::invalid_argument,
                "the file is no host memory of the kernel module" +
                    (error != 0 ? std::string(": ") + std::strerror(error) : std::string()),
                "an arena", "make it with BO_CREATE on a device's node and export it");
  if (look.uid != uid)
    throw Error(Code::denied, "the memory is of user " + std::to_string(look.uid), "an arena",
                "a session takes its own user's memory alone");
  if (look.size != bytes || bytes == 0)
    throw Error(Code::invalid_argument,
                "the memory has " + std::to_string(look.size) + " bytes and was said to have " + std::to_string(bytes),
                "an arena");
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (base == MAP_FAILED)
    throw Error(errno == ENOMEM ? Code::out_of_memory : Code::io,
                std::string("an arena cannot be mapped: ") + std::strerror(errno));
  return base;
}

}  // namespace ml::daemon
