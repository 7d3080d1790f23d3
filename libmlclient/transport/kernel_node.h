// A device's node of the kernel module, opened by this process: /dev/accel/accelN, /dev/dri/renderDN before Linux 6.2.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernel/uapi/mlaccel_drm.h"
#include "libmlclient/transport/memory_source.h"
#include "libmlclient/transport/unique_fd.h"

namespace ml::transport {

// A queue that the kernel made for this process.
struct NodeQueue {
  std::uint32_t number = 0;
  std::uint32_t context = 0;
  UniqueFd fd;  // of its pages
};

// Any thread.
class KernelNode {
 public:
  // Throws not_found, denied, or invalid_argument when it is another driver's.
  explicit KernelNode(std::uint32_t minor);

  const std::string& path() const { return path_; }
  int fd() const { return fd_.get(); }
  // What the device is now. Throws device_lost when it is gone.
  drm_mlaccel_dev_query query() const;

  // In a context of its own, in which one descriptor may run for `timeout` (ns; 0: as long as the module lets it);
  // wake_fd is an eventfd. Throws device_lost when the device has no worker, no_space when a limit is met.
  NodeQueue make_queue(std::uint32_t depth, int wake_fd, std::uint64_t timeout = 0) const;
  // Ends it, and its context with it.
  void destroy(const NodeQueue& queue) const noexcept;
  // Host memory, behind a dma-buf. `bytes` is rounded up to pages. Null when the device is gone; throws no_space with
  // the user's limit.
  HostMemory make_memory(std::uint64_t bytes) const;

 private:
  std::string path_;
  UniqueFd fd_;
};

// Memory of a node; once its device is gone, sealed memfds, which every worker takes.
std::shared_ptr<MemorySource> node_memory(std::shared_ptr<KernelNode> node);
// What make_memory() makes of a size.
std::uint64_t whole_pages(std::uint64_t bytes);

}  // namespace ml::transport
