// The devices of mld.toml and the serving worker of each, restarted when it dies.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/config/config.h"
#include "daemon/workers/kernel_module.h"
#include "daemon/workers/worker_process.h"

namespace ml::daemon {

struct Device {
  DeviceConfig config;
  transport::UniqueFd preemption_fd;  // memfd of its PreemptionPage
  worker_protocol::PreemptionPage* preemption = nullptr;
  std::optional<KernelNode> node;          // while it is registered with the kernel module
  std::unique_ptr<WorkerProcess> serving;  // null from its death to its restart
  std::uint32_t generation = 0;            // of its serving worker
  std::uint32_t sessions = 0;              // that Sessions has put here
  std::uint32_t restarts = 0;
  bool draining = false;  // takes no new sessions and no new jobs
  std::string last_death;

 private:
  friend class Devices;
  std::uint64_t started_at_ = 0;    // ns
  std::uint32_t quick_deaths_ = 0;  // one after the other
  Loop::TimerId restart_ = 0;       // 0: none is planned
};

// How long to wait before the worker is started again, after so many deaths in a row that came soon after the start:
// the first time at once, then 100 ms, twice as long each time, 5 s at most.
std::uint64_t restart_delay_ns(std::uint32_t quick_deaths);

class Devices {
 public:
  // Throws invalid_argument for a configuration without devices and io when the system refuses memory.
  Devices(Loop& loop, const Config& config);
  ~Devices();
  Devices(const Devices&) = delete;
  Devices& operator=(const Devices&) = delete;

  // Registers the devices with the kernel module as the configuration says, and starts every serving worker; throws
  // when one can't be started at all. Set the functions below before.
  void start();
  // Why no device is registered with the module; empty: those that could be are.
  const std::string& why_no_kernel() const { return why_no_kernel_; }
  // After a reload: the module learns the limits of single users.
  void limits_changed();
  std::vector<Device>& all() { return devices_; }
  Device* find(const std::string& name);
  // For a session that asks for `wanted` (name, backend or empty): of those that fit the one with the fewest sessions.
  // Throws not_found listing what there is, or again when all that fit are draining or being restarted.
  Device& choose(const std::string& wanted);
  void drain(const std::string& name, bool on);  // throws not_found

  // The serving worker died; `worker` is destroyed behind it and another one is started.
  std::function<void(Device& device, WorkerProcess& worker, const std::string& how)> on_death;
  // It could not be started again, and is tried later.
  std::function<void(Device& device, const std::string& why)> on_restart_failed;
  std::function<void(Device& device, const worker_protocol::SessionEnded& ended, std::string_view why)>
      on_session_ended;
  std::function<void(Device& device)> on_ready;
  // The module refuses something; mld goes on without it.
  std::function<void(const std::string& what)> on_kernel_trouble;

 private:
  void open_kernel();
  void register_device(Device& device);
  transport::UniqueFd start_in_kernel(Device& device);
  void start_serving(Device& device);
  void died(Device& device, const std::string& how);
  void restart_later(Device& device);
  std::string names() const;

  Loop& loop_;
  const Config& config_;
  std::optional<Identity> identity_;  // of workers
  std::unique_ptr<KernelModule> kernel_;
  std::string why_no_kernel_;
  std::set<std::uint32_t> limited_;  // users who have limits of their own there
  std::vector<Device> devices_;      // never moved once made
};

}  // namespace ml::daemon
