#include "daemon/worker/kernel_queue.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace ml::daemon {
namespace {

constexpr char kWhere[] = "a queue of the kernel module";

Error refusal(int error) {
  switch (error) {
    case EBADF: return Error(Code::invalid_argument, "the file is no queue", kWhere, "send the fd of QUEUE_CREATE");
    case EALREADY: return Error(Code::invalid_argument, "the queue is open already", kWhere, "make another one");
    case ESTALE: return Error(Code::device_lost, "the queue is of another device, or of a worker that died", kWhere);
    case ENODEV: return Error(Code::device_lost, "the queue ended with its worker", kWhere);
    case ECANCELED: return Error(Code::cancelled, "the queue was destroyed", kWhere);
    case ETIMEDOUT: return Error(Code::timeout, "the queue ended because it hung", kWhere);
    case EPROTO: return Error(Code::corrupt, "the queue ended because its client broke the rules", kWhere);
    default:
      return Error(error == ENOMEM ? Code::out_of_memory : Code::io, std::string("mapping it: ") + std::strerror(error),
                   kWhere);
  }
}

}  // namespace

KernelPages::KernelPages(KernelDevice& device, int file) : device_(device) {
  info_.fd = file;
  if (const int error = kernel_call(device.fd(), MLACCEL_QUEUE_MAP, &info_)) throw refusal(error);
  const bool known = mlring_compute_layout(&layout_, info_.depth, static_cast<std::uint32_t>(sysconf(_SC_PAGESIZE))) &&
                     layout_.bytes == info_.bytes;
  int error = known ? 0 : EINVAL;
  if (known) {
    submission_ = map(layout_.submission_offset, layout_.submission_bytes, PROT_READ);
    completion_ = map(layout_.completion_offset, layout_.completion_bytes, PROT_READ | PROT_WRITE);
    state_ = map(layout_.state_offset, layout_.state_bytes, PROT_READ);
    if (submission_ == nullptr || completion_ == nullptr || state_ == nullptr) error = errno;
  }
  if (error == 0) return;
  let_go();
  throw refusal(error);
}

KernelPages::~KernelPages() { let_go(); }

void KernelPages::let_go() {
  if (submission_ != nullptr) munmap(const_cast<void*>(submission_), layout_.submission_bytes);
  if (completion_ != nullptr) munmap(const_cast<void*>(completion_), layout_.completion_bytes);
  if (state_ != nullptr) munmap(const_cast<void*>(state_), layout_.state_bytes);
  mlaccel_queue_name queue{info_.queue, 0};
  kernel_call(device_.fd(), MLACCEL_QUEUE_UNMAP, &queue);
}

// Null with errno when it fails.
const void* KernelPages::map(std::uint64_t offset, std::uint64_t bytes, int protection) {
  void* const at =
      mmap(nullptr, bytes, protection, MAP_SHARED, device_.fd(), static_cast<off_t>(info_.map_offset + offset));
  return at == MAP_FAILED ? nullptr : at;
}

runtime::WorkerPages KernelPages::pages() const {
  return {static_cast<const mlring_submission_header*>(submission_),
          static_cast<mlring_completion_header*>(const_cast<void*>(completion_)),
          static_cast<const mlring_state*>(state_), layout_.depth};
}

void KernelQueue::heard_by(runtime::Queue* queue) { pages_->device().listen(pages_->info().queue, queue); }

void KernelQueue::set_state(std::uint32_t state) {
  mlaccel_queue_end end{pages_->info().queue,
                        state == MLRING_STATE_FAULTED ? MLRING_STATE_FAULTED : MLRING_STATE_CLOSED};
  kernel_call(pages_->device().fd(), MLACCEL_QUEUE_END, &end);  // EALREADY: it was the kernel that ended it
}

// What it answers but success is told as an event too.
void KernelQueue::notify(bool wake) {
  mlaccel_complete complete{};
  complete.queue = pages_->info().queue;
  complete.generation = pages_->device().generation();
  complete.flags = wake ? MLACCEL_COMPLETE_WAKE : 0;
  kernel_call(pages_->device().fd(), MLACCEL_COMPLETE, &complete);
}

}  // namespace ml::daemon
