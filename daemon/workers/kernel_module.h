// The kernel module as mld sees it: the control node, which one process at a time has open. What was registered goes
// when it is closed, however mld ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

// A device that is registered there.
struct KernelNode {
  std::uint32_t device = 0;  // its number
  std::uint32_t minor = 0;   // clients open path()
  bool is_accel = false;     // /dev/accel/accelN, else /dev/dri/renderDN

  std::string path() const;
  // One of the device's attributes in sysfs, a number; 0 when it can't be read.
  std::uint64_t attribute(const char* name) const;
};

class KernelModule {
 public:
  // Null when there is none that can be used, and why_not says so. Throws unsupported for a module that mld does not
  // understand.
  static std::unique_ptr<KernelModule> open(std::string& why_not);

  // Whole pages; a limit of a user's above it is as much as there is. Throws io, or invalid_argument naming the path
  // when the socket's is too long.
  KernelNode add(const std::string& name, const std::string& backend, const std::string& socket,
                 std::uint64_t memory_bytes, std::uint64_t user_limit) const;
  void remove(const KernelNode& node) const noexcept;

  // What the device's next worker is given; the last one's is of no use from now on. Throws io.
  struct Started {
    transport::UniqueFd file;
    std::uint32_t generation;
  };
  Started start(const KernelNode& node) const;

  // Device memory of one user.
  void limit_device(const KernelNode& node, std::uint64_t memory_bytes, std::uint32_t uid, std::uint64_t bytes) const;
  // Host memory of one user, on all devices together; those who have no limit of their own have host_limit().
  void limit_host(std::uint32_t uid, std::uint64_t bytes) const;
  std::uint64_t host_limit() const { return host_limit_; }

 private:
  KernelModule(transport::UniqueFd control, bool has_accel_nodes, std::uint64_t host_limit)
      : control_(std::move(control)), has_accel_nodes_(has_accel_nodes), host_limit_(host_limit) {}

  transport::UniqueFd control_;
  bool has_accel_nodes_;
  std::uint64_t host_limit_;
};

}  // namespace ml::daemon
