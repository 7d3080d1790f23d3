#include "daemon/workers/kernel_module.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "kernel/uapi/mlaccel_control.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

// 0, or the error's number.
int call(int file, unsigned long request, void* argument) {
  while (ioctl(file, request, argument) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

[[noreturn]] void refuse(const std::string& what, int error) {
  throw Error(Code::io, what + ": " + std::strerror(error), "the kernel module mlaccel",
              "see what it says in the kernel's log (dmesg), or set kernel = \"off\" in mld.toml");
}

template <std::size_t N>
void put(char (&field)[N], const std::string& text, const char* what) {
  if (text.size() >= N)
    throw Error(Code::invalid_argument, "\"" + text + "\" has more than " + std::to_string(N - 1) + " bytes", what);
  text.copy(field, N - 1);
}

std::uint64_t whole_pages(std::uint64_t bytes) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  return std::max(bytes / page, std::uint64_t{1}) * page;
}

}  // namespace

std::string KernelNode::path() const {
  return (is_accel ? "/dev/accel/accel" : "/dev/dri/renderD") + std::to_string(minor);
}

std::uint64_t KernelNode::attribute(const char* name) const {
  std::ifstream file((is_accel ? "/sys/class/accel/accel" : "/sys/class/drm/renderD") + std::to_string(minor) +
                     "/device/" + name);
  std::uint64_t value = 0;
  return file >> value ? value : 0;
}

std::unique_ptr<KernelModule> KernelModule::open(std::string& why_not) {
  transport::UniqueFd control(::open(MLACCEL_CONTROL_NODE, O_RDWR | O_CLOEXEC));
  if (!control) {
    const int error = errno;
    why_not = error == ENOENT || error == ENXIO ? "the kernel module mlaccel is not loaded"
              : error == EBUSY                  ? "another mld has " MLACCEL_CONTROL_NODE " open"
                                                : std::string(MLACCEL_CONTROL_NODE) + ": " + std::strerror(error);
    return nullptr;
  }
  mlaccel_features features{};
  if (const int error = call(control.get(), MLACCEL_GET_FEATURES, &features)) refuse("asking for its features", error);
  if (features.abi < MLACCEL_ABI)
    throw Error(Code::unsupported,
                "it has version " + std::to_string(features.abi) + " of its interface and mld needs " +
                    std::to_string(MLACCEL_ABI),
                "the kernel module mlaccel", "install the module of this release");
  return std::unique_ptr<KernelModule>(
      new KernelModule(std::move(control), (features.features & MLACCEL_FEATURE_ACCEL_NODE) != 0, features.host_limit));
}

KernelNode KernelModule::add(const std::string& name, const std::string& backend, const std::string& socket,
                             std::uint64_t memory_bytes, std::uint64_t user_limit) const {
  mlaccel_dev_register wanted{};
  put(wanted.name, name, "the device's name");
  put(wanted.backend, backend, "the device's backend");
  put(wanted.socket, socket, "the socket, which the kernel module tells to clients");
  wanted.memory_bytes = whole_pages(memory_bytes);
  // 0 would be no limit; nobody can do anything with a byte.
  wanted.user_limit = user_limit >= wanted.memory_bytes ? 0 : std::max(user_limit, std::uint64_t{1});
  if (const int error = call(control_.get(), MLACCEL_DEV_REGISTER, &wanted)) refuse("registering " + name, error);
  return {wanted.device, wanted.minor, has_accel_nodes_};
}

void KernelModule::remove(const KernelNode& node) const noexcept {
  mlaccel_dev device{node.device, 0};
  call(control_.get(), MLACCEL_DEV_UNREGISTER, &device);
}

KernelModule::Started KernelModule::start(const KernelNode& node) const {
  mlaccel_dev_start wanted{};
  wanted.device = node.device;
  int error = call(control_.get(), MLACCEL_DEV_START, &wanted);
  if (error == EBUSY) {  // somebody has got hold of the last worker's file
    wanted = {};
    wanted.device = node.device;
    error = call(control_.get(), MLACCEL_DEV_RECOVER, &wanted);
  }
  if (error != 0) refuse("starting a worker of " + node.path(), error);
  return {transport::UniqueFd(wanted.fd), wanted.generation};
}

void KernelModule::limit_device(const KernelNode& node, std::uint64_t memory_bytes, std::uint32_t uid,
                                std::uint64_t bytes) const {
  mlaccel_set_limit limit{node.device, uid, std::min(bytes, whole_pages(memory_bytes))};
  if (const int error = call(control_.get(), MLACCEL_SET_LIMIT, &limit))
    refuse("setting the limit of uid " + std::to_string(uid), error);
}

void KernelModule::limit_host(std::uint32_t uid, std::uint64_t bytes) const {
  mlaccel_set_limit limit{0, uid, bytes};
  if (const int error = call(control_.get(), MLACCEL_SET_LIMIT, &limit))
    refuse("setting the limit of uid " + std::to_string(uid), error);
}

}  // namespace ml::daemon
