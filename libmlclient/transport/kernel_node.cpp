#include "libmlclient/transport/kernel_node.h"

#include <fcntl.h>
#include <unistd.h>
#include <xf86drm.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "ml/error.h"

namespace ml::transport {
namespace {

// 0, or the error's number.
int call(int fd, unsigned long request, void* argument) { return drmIoctl(fd, request, argument) == 0 ? 0 : errno; }

std::string driver_of(int fd) {
  drmVersionPtr version = drmGetVersion(fd);
  if (version == nullptr) return {};
  std::string name(version->name, static_cast<std::size_t>(version->name_len));
  drmFreeVersion(version);
  return name;
}

// The kernel counts accel nodes and render nodes apart, and has mlaccel's under one of the two.
UniqueFd open_node(std::uint32_t minor, std::string& path) {
  int why = ENOENT;
  for (const char* const prefix : {"/dev/accel/accel", "/dev/dri/renderD"}) {
    const std::string candidate = prefix + std::to_string(minor);
    UniqueFd fd(open(candidate.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd && errno == ENOENT) continue;
    path = candidate;
    why = errno;
    if (fd && driver_of(fd.get()) == MLACCEL_DRIVER_NAME) return fd;
    if (fd) why = ENOTTY;
    if (!fd && (why == EACCES || why == EPERM)) break;
  }
  switch (why) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
      throw Error(Code::not_found, "the kernel module has no node " + std::to_string(minor), {},
                  "'mlctl device ls -o wide' shows the nodes there are; MLACCEL=unix:PATH does without them");
    case EACCES:
    case EPERM:
      throw Error(Code::denied, "'" + path + "' may not be opened by this user", {},
                  "its mode and group say who may, see packaging/udev; MLACCEL=unix:PATH does without it");
    case ENOTTY:
      throw Error(Code::invalid_argument, "'" + path + "' is no device of mlaccel", {},
                  "'mlctl device ls -o wide' shows those that are");
    default: throw Error(Code::io, "cannot open '" + path + "': " + std::strerror(why));
  }
}

[[noreturn]] void refuse(const std::string& what, const std::string& path, int error) {
  const std::string text = what + " on '" + path + "': " + std::strerror(error);
  switch (error) {
    case ENODEV: throw Error(Code::device_lost, text + ": the device has no worker at the moment");
    case EDQUOT: throw Error(Code::no_space, text, {}, "drop tensors, or end other programs of this user");
    case ENOSPC:
    case EMFILE:
    case ENFILE: throw Error(Code::no_space, text);
    case ENOMEM: throw Error(Code::out_of_memory, text);
    default: throw Error(Code::io, text);
  }
}

class NodeMemory final : public MemorySource {
 public:
  explicit NodeMemory(std::shared_ptr<KernelNode> node) : node_(std::move(node)) {}
  HostMemory make(std::uint64_t bytes) override {
    HostMemory memory = node_->make_memory(bytes);
    return memory.base != nullptr ? std::move(memory) : sealed_memory()->make(bytes);
  }

 private:
  std::shared_ptr<KernelNode> node_;
};

}  // namespace

KernelNode::KernelNode(std::uint32_t minor) : fd_(open_node(minor, path_)) {}

drm_mlaccel_dev_query KernelNode::query() const {
  drm_mlaccel_dev_query query{};
  if (const int error = call(fd(), DRM_IOCTL_MLACCEL_DEV_QUERY, &query)) refuse("asking for the device", path_, error);
  return query;
}

NodeQueue KernelNode::make_queue(std::uint32_t depth, int wake_fd, std::uint64_t timeout) const {
  drm_mlaccel_ctx_create context{};
  context.timeout_ns = timeout;
  if (const int error = call(fd(), DRM_IOCTL_MLACCEL_CTX_CREATE, &context)) refuse("making a context", path_, error);
  drm_mlaccel_queue_create queue{};
  queue.context = context.context;
  queue.depth = depth;
  queue.wake_fd = wake_fd;
  if (const int error = call(fd(), DRM_IOCTL_MLACCEL_QUEUE_CREATE, &queue)) {
    destroy({0, context.context, {}});
    if (error == EINVAL)
      throw Error(Code::invalid_argument, "depth " + std::to_string(depth) + " is not a power of two within bounds");
    refuse("making a queue", path_, error);
  }
  return {queue.queue, context.context, UniqueFd(queue.fd)};
}

void KernelNode::destroy(const NodeQueue& queue) const noexcept {
  drm_mlaccel_queue_destroy its_queue{queue.number, 0};
  if (queue.number != 0) call(fd(), DRM_IOCTL_MLACCEL_QUEUE_DESTROY, &its_queue);
  drm_mlaccel_ctx_destroy context{queue.context, 0};
  call(fd(), DRM_IOCTL_MLACCEL_CTX_DESTROY, &context);
}

// Mapped through the dma-buf rather than through the node: the mapping then keeps no file of a device that is gone.
HostMemory KernelNode::make_memory(std::uint64_t bytes) const {
  drm_mlaccel_bo_create wanted{};
  wanted.size = whole_pages(bytes);
  wanted.flags = MLACCEL_BO_HOST;
  const int error = call(fd(), DRM_IOCTL_MLACCEL_BO_CREATE, &wanted);
  if (error == ENODEV) return {};
  if (error == EDQUOT) {
    const drm_mlaccel_dev_query has = query();
    throw Error(Code::no_space,
                "the kernel lets this user hold " + std::to_string(has.user_host_limit) +
                    " bytes of host memory: " + std::to_string(has.user_host_bytes) + " are held, and " +
                    std::to_string(wanted.size) + " more wanted",
                {}, "drop tensors, or end other programs of this user");
  }
  if (error != 0) refuse("making " + std::to_string(wanted.size) + " bytes of memory", path_, error);
  int file = -1;
  const int exported = drmPrimeHandleToFD(fd(), wanted.handle, DRM_CLOEXEC | DRM_RDWR, &file) == 0 ? 0 : errno;
  drmCloseBufferHandle(fd(), wanted.handle);
  if (exported != 0) refuse("exporting memory", path_, exported);
  UniqueFd memory(file);
  void* const base = map_for_tensors(memory.get(), wanted.size);
  return {base, std::move(memory)};
}

std::shared_ptr<MemorySource> node_memory(std::shared_ptr<KernelNode> node) {
  return std::make_shared<NodeMemory>(std::move(node));
}

std::uint64_t whole_pages(std::uint64_t bytes) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

}  // namespace ml::transport
