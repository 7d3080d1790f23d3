// A queue that the kernel made, as the worker process holds it. The kernel wakes the client and hears its doorbell; the
// worker's part is COMPLETE, when a client sleeps or somebody waits for a sequence.
#pragma once

#include <cstdint>
#include <memory>

#include "daemon/worker/kernel_device.h"
#include "engine/runtime/queue_memory.h"

namespace ml::daemon {

// Its pages, mapped from the worker's file: completion pages writable, the others read-only.
class KernelPages {
 public:
  // Takes the queue behind `file`. Throws invalid_argument for another file, device_lost for a queue of another worker,
  // and why it ended if it has.
  KernelPages(KernelDevice& device, int file);
  ~KernelPages();  // the kernel takes the queue back, and what BO_CREATE_FOR made for it
  KernelPages(const KernelPages&) = delete;
  KernelPages& operator=(const KernelPages&) = delete;

  KernelDevice& device() const { return device_; }
  const mlaccel_queue_map& info() const { return info_; }
  runtime::WorkerPages pages() const;

 private:
  void let_go();
  const void* map(std::uint64_t offset, std::uint64_t bytes, int protection);

  KernelDevice& device_;
  mlaccel_queue_map info_{};
  mlring_layout layout_{};
  const void* submission_ = nullptr;
  const void* completion_ = nullptr;
  const void* state_ = nullptr;
};

class KernelQueue final : public runtime::QueueMemory, private runtime::RingOwner {
 public:
  explicit KernelQueue(std::shared_ptr<const KernelPages> pages) : pages_(std::move(pages)) {}

  runtime::WorkerPages worker_pages() const override { return pages_->pages(); }
  int doorbell_fd() const override { return -1; }
  int wake_fd() const override { return -1; }
  std::uint32_t depth() const override { return pages_->info().depth; }
  bool foreign() const override { return false; }
  runtime::RingOwner* owner() override { return this; }
  void heard_by(runtime::Queue* queue) override;
  void set_state(std::uint32_t state) override;

 private:
  void notify(bool wake) override;

  std::shared_ptr<const KernelPages> pages_;
};

}  // namespace ml::daemon
