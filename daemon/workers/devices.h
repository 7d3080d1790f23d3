// The devices of mld.toml and the serving worker of each, restarted when it dies.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/config/config.h"
#include "daemon/workers/worker_process.h"

namespace ml::daemon {

struct Device {
  DeviceConfig config;
  transport::UniqueFd preemption_fd;  // memfd of its PreemptionPage
  worker_protocol::PreemptionPage* preemption = nullptr;
  std::unique_ptr<WorkerProcess> serving;
  std::uint32_t generation = 0;
  std::uint32_t restarts = 0;
  bool draining = false;  // takes no new sessions and no new jobs
  std::string last_death;
};

class Devices {
 public:
  Devices(Loop& loop, const Config& config);
  ~Devices();

  // Starts every serving worker. Their deaths and ended sessions are reported to `sessions` (set before).
  void start();
  std::vector<Device>& all() { return devices_; }
  Device* find(const std::string& name);
  // For a session that asks for `wanted` (name, backend or empty). Throws not_found listing what there is, or again
  // when all that fit are draining.
  Device& choose(const std::string& wanted);
  void drain(const std::string& name, bool on);

  std::function<void(Device& device, WorkerProcess& worker, const std::string& how)> on_death;
  std::function<void(Device& device, const worker_protocol::SessionEnded& ended, std::string_view why)>
      on_session_ended;
  std::function<void(Device& device)> on_ready;

 private:
  void start_serving(Device& device);
  Loop& loop_;
  const Config& config_;
  std::vector<Device> devices_;
};

}  // namespace ml::daemon
