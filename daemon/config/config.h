// mld.toml as a struct. Every key has a default; a file with mistakes is refused with all of them at once.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ml::daemon {

struct DeviceConfig {
  std::string name;                // "cpu0"
  std::string backend = "cpu";     // "cpu", "reference"
  std::vector<int> cpus;           // empty: all that mld may use
  std::uint64_t memory_bytes = 0;  // in the file: left out is an equal share of three quarters of the machine's

  // How long a queue that has gone quiet is polled before its worker sleeps on it; "automatic" in the file: the worker
  // decides by its number of CPUs.
  static constexpr std::uint64_t kPollByCpus = ~std::uint64_t{0};
  std::uint64_t poll_ms = kPollByCpus;

  bool operator==(const DeviceConfig&) const = default;
};

// What one uid may hold at a time, by the names of the keys. 0 means none of it; "unlimited" in the file is the largest
// number.
struct LimitValues {
  std::uint64_t sessions = 256;
  std::uint64_t queues = 512;
  std::uint64_t arenas = 16384;
  std::uint64_t arena_bytes = 0;   // default: half of the machine's memory
  std::uint64_t device_bytes = 0;  // default: the memory of the largest device
  std::uint64_t handles = 65536;   // of one session
  std::uint64_t plans = 16;        // of one program
  std::uint64_t graph_bytes = 256ull << 20;
  std::uint64_t compile_ms = 60'000;  // of one COMPILE or plan
  std::uint64_t jobs = 64;            // not ended yet
  std::uint64_t models = 256;         // versions
  std::uint64_t model_bytes = 0;      // default: a tenth of the state directory's file system
  std::uint64_t weight = 100;         // share of device time, in proportion to others'
  std::uint64_t sessions_a_second = 200;

  bool operator==(const LimitValues&) const = default;
};

struct Config {
  bool user = false;              // --user: one user's daemon, without privileges
  std::string socket;             // /run/mlaccel/mld.sock, or $XDG_RUNTIME_DIR/mlaccel/mld.sock
  std::string admin_socket;       // admin.sock beside it
  std::string state_directory;    // /var/lib/mlaccel, or $XDG_STATE_HOME/mlaccel (~/.local/state/mlaccel)
  std::string libexec_directory;  // where mld-worker and mld-job are: beside mld, or the installed libexec
  std::string admin_group = "mlaccel-admin";
  std::string worker_user = "mlaccel-worker";  // unused with --user
  std::string log_level = "info";
  std::string loop = "automatic";     // "io_uring", "epoll"
  std::string kernel = "automatic";   // the kernel module: "on", "off"
  std::uint64_t quantum_ms = 30'000;  // a training job runs at least so long before another user's takes its place
  std::uint64_t drain_ms = 20'000;    // SIGTERM: how long jobs may take to write their checkpoint
  std::uint64_t job_log_bytes = 16ull << 20;
  std::vector<DeviceConfig> devices;                 // none declared: one, "cpu0", with all CPUs
  LimitValues limits;                                // everybody's
  std::map<std::uint32_t, LimitValues> user_limits;  // [limits.user.NAME]

  const LimitValues& limits_of(std::uint32_t uid) const;
};

struct ConfigOptions {
  bool user = false;
  std::string path;    // --config; empty: /etc/mlaccel/mld.toml, or $XDG_CONFIG_HOME/mlaccel/mld.toml; may be missing
  std::string socket;  // --socket; overrides the file's
  std::string state;   // --state
};
// Throws invalid_argument whose text lists every mistake: line, key, what is wrong, what is expected.
Config load_config(const ConfigOptions& options);

// SIGHUP: takes over what can change while mld runs (limits, log_level, quantum, drain, job_log_bytes); the other keys
// keep their values until it is started again, and keys_for_restart() names those that differ.
void reload_from(Config& running, const Config& next);
std::vector<std::string> keys_for_restart(const Config& running, const Config& next);

}  // namespace ml::daemon
