#include "daemon/workers/devices.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ml/error.h"

namespace ml::daemon {
namespace {

using worker_protocol::PreemptionPage;

// A worker that lived so long did not die of how it was started.
constexpr std::uint64_t kQuickDeath = 30'000'000'000;
constexpr std::uint64_t kFirstDelay = 100'000'000;
constexpr std::uint64_t kLongestDelay = 5'000'000'000;

std::uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

[[noreturn]] void refuse(const std::string& device, const char* what) {
  throw Error(Code::io, std::string(what) + ": " + std::strerror(errno), "device " + device);
}

void make_preemption_page(Device& device) {
  const std::string& name = device.config.name;
  device.preemption_fd = transport::UniqueFd(memfd_create("mlaccel-preemption", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const int fd = device.preemption_fd.get();
  if (fd < 0) refuse(name, "making its preemption page");
  if (ftruncate(fd, sizeof(PreemptionPage)) != 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    refuse(name, "sizing its preemption page");
  void* const at = mmap(nullptr, sizeof(PreemptionPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) refuse(name, "mapping its preemption page");
  device.preemption = static_cast<PreemptionPage*>(at);
}

}  // namespace

std::uint64_t restart_delay_ns(std::uint32_t quick_deaths) {
  if (quick_deaths <= 1) return 0;
  return std::min(kLongestDelay, kFirstDelay << std::min(quick_deaths - 2, 10u));
}

Devices::Devices(Loop& loop, const Config& config) : loop_(loop), config_(config) {
  if (config.devices.empty()) throw Error(Code::invalid_argument, "there is no device", {}, "declare one in mld.toml");
  if (!config.user) identity_ = identity_of(config.worker_user);
  devices_.resize(config.devices.size());
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    devices_[i].config = config.devices[i];
    make_preemption_page(devices_[i]);
  }
}

Devices::~Devices() {
  for (Device& device : devices_) {
    if (device.restart_ != 0) loop_.cancel(device.restart_);
    device.serving.reset();
    if (device.preemption != nullptr) munmap(device.preemption, sizeof(PreemptionPage));
  }
}

void Devices::start() {
  open_kernel();
  for (Device& device : devices_) {
    if (kernel_) register_device(device);
    start_serving(device);
  }
  limits_changed();
}

void Devices::open_kernel() {
  if (config_.kernel == "off") {
    why_no_kernel_ = "mld.toml says kernel = \"off\"";
    return;
  }
  const bool wanted = config_.kernel == "on";
  try {
    kernel_ = KernelModule::open(why_no_kernel_);
  } catch (const Error& error) {
    if (wanted) throw;
    why_no_kernel_ = error.what();
  }
  if (wanted && !kernel_)
    throw Error(Code::unsupported, why_no_kernel_, "kernel = \"on\" in mld.toml",
                "modprobe mlaccel, or set kernel = \"automatic\"");
}

void Devices::register_device(Device& device) {
  try {
    device.node = kernel_->add(device.config.name, device.config.backend, config_.socket, device.config.memory_bytes,
                               config_.limits.device_bytes);
  } catch (const Error& error) {
    if (config_.kernel == "on") throw;
    if (on_kernel_trouble) on_kernel_trouble(device.config.name + " is served without the module: " + error.what());
  }
}

void Devices::limits_changed() {
  if (!kernel_) return;
  for (const auto& [uid, limits] : config_.user_limits) limited_.insert(uid);
  try {
    for (const std::uint32_t uid : limited_) {
      const LimitValues& limits = config_.limits_of(uid);  // everybody's again when the user's own are gone
      const bool own_arenas = limits.arena_bytes != config_.limits.arena_bytes;
      kernel_->limit_host(uid, own_arenas ? limits.arena_bytes : kernel_->host_limit());
      for (const Device& device : devices_)
        if (device.node) kernel_->limit_device(*device.node, device.config.memory_bytes, uid, limits.device_bytes);
    }
  } catch (const Error& error) {
    if (on_kernel_trouble) on_kernel_trouble(error.what());
  }
}

// Nothing when it isn't registered.
transport::UniqueFd Devices::start_in_kernel(Device& device) {
  if (!device.node) return {};
  const bool first = device.generation == 1;
  try {
    KernelModule::Started started = kernel_->start(*device.node);
    device.generation = started.generation;
    return std::move(started.file);
  } catch (const Error& error) {
    if (!first || config_.kernel == "on") throw;  // later its clients know the node
    kernel_->remove(*device.node);
    device.node.reset();
    if (on_kernel_trouble) on_kernel_trouble(device.config.name + " is served without the module: " + error.what());
    return {};
  }
}

void Devices::start_serving(Device& device) {
  WorkerSpec spec;
  spec.name = "serving " + device.config.name;
  spec.devices = {device.config.name};
  spec.backend = device.config.backend;
  spec.role = worker_protocol::Role::serving;
  spec.cpus = device.config.cpus;
  spec.memory_bytes = device.config.memory_bytes;
  spec.poll_ms = device.config.poll_ms;
  spec.preemption_fds = {device.preemption_fd.get()};
  WorkerEvents events;
  events.ready = [this, &device] {
    if (on_ready) on_ready(device);
  };
  events.died = [this, &device](const std::string& how) { died(device, how); };
  events.session_ended = [this, &device](const worker_protocol::SessionEnded& ended, std::string_view why) {
    if (on_session_ended) on_session_ended(device, ended, why);
  };
  device.started_at_ = now_ns();
  ++device.generation;
  const transport::UniqueFd file = start_in_kernel(device);  // the worker's: its death is the file's last close
  spec.kernel_fd = file.get();
  device.serving = start_worker(loop_, config_.libexec_directory + "/mld-worker", spec, identity_, device.generation,
                                std::move(events));
}

void Devices::died(Device& device, const std::string& how) {
  runtime::reset_demand(*device.preemption);  // a dead worker demands nothing
  device.last_death = how;
  device.quick_deaths_ = now_ns() - device.started_at_ < kQuickDeath ? device.quick_deaths_ + 1 : 1;
  if (on_death) on_death(device, *device.serving, how);
  device.serving.reset();
  restart_later(device);
}

void Devices::restart_later(Device& device) {
  device.restart_ = loop_.after(restart_delay_ns(device.quick_deaths_), [this, &device] {
    device.restart_ = 0;
    ++device.restarts;
    try {
      start_serving(device);
    } catch (const Error& error) {
      device.last_death = error.what();
      ++device.quick_deaths_;
      if (on_restart_failed) on_restart_failed(device, error.what());
      restart_later(device);
    }
  });
}

Device* Devices::find(const std::string& name) {
  const auto found = std::ranges::find(devices_, name, [](const Device& device) { return device.config.name; });
  return found != devices_.end() ? &*found : nullptr;
}

std::string Devices::names() const {
  std::string list;
  for (const Device& device : devices_)
    list += (list.empty() ? "" : ", ") + device.config.name + " (" + device.config.backend + ")";
  return list;
}

Device& Devices::choose(const std::string& wanted) {
  Device* best = nullptr;
  bool any = false;
  for (Device& device : devices_) {
    if (!wanted.empty() && wanted != device.config.name && wanted != device.config.backend) continue;
    any = true;
    if (device.draining || !device.serving) continue;
    if (best == nullptr || device.sessions < best->sessions) best = &device;
  }
  if (best != nullptr) return *best;
  if (!any) {
    throw Error(Code::not_found, "there is no device '" + wanted + "'; there are: " + names(), {},
                "name one of them, a backend, or nothing");
  }
  throw Error(Code::again,
              (wanted.empty() ? std::string("every device") : "'" + wanted + "'") + " is draining or being restarted",
              {}, "try again in a moment; 'mlctl device ls' shows why");
}

void Devices::drain(const std::string& name, bool on) {
  Device* const device = find(name);
  if (device == nullptr) {
    throw Error(Code::not_found, "there is no device '" + name + "'; there are: " + names(), {}, "name one of them");
  }
  device->draining = on;
}

}  // namespace ml::daemon
