#include "daemon/config/config.h"

#include <pwd.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "daemon/config/machine.h"
#include "daemon/config/toml_table.h"
#include "daemon/config/units.h"
#include "libmlclient/transport/session_protocol.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

constexpr std::size_t kMaxSocketPath = 107;  // sun_path without its zero

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

// $NAME, else a folder in the home directory, else nothing.
std::string user_directory(const char* name, const char* in_home) {
  if (std::string path = environment(name); path.starts_with('/')) return path;
  const std::string home = environment("HOME");
  return home.starts_with('/') ? home + in_home : "";
}

std::string read_file(const std::string& path, bool may_be_missing) {
  std::ifstream file(path);
  std::stringstream text;
  if (file) text << file.rdbuf();
  if (file && !file.bad() && !std::filesystem::is_directory(path)) return text.str();
  if (may_be_missing && errno == ENOENT) return {};
  throw Error(Code::io,
              std::string("can't read it: ") + std::strerror(std::filesystem::is_directory(path) ? EISDIR : errno),
              path, "name another file with --config");
}

std::string libexec_directory() {
  std::error_code error;
  const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  if (std::filesystem::exists(here / "mld-worker", error)) return here;
  return (here.parent_path() / "libexec/mlaccel").string();
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() < transport::protocol::kMaxName &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == text.npos;
}

void read_device(const toml::node& node, const std::vector<int>& cpus, Config& config, Mistakes& mistakes) {
  const toml::table* const table = node.as_table();
  if (table == nullptr) return mistakes.add(node, "device: expected tables that begin with [[device]]");
  TomlTable reader(*table, "device.", mistakes);
  DeviceConfig device;
  reader.text("name", device.name);
  reader.choice("backend", device.backend, {"cpu", "reference"});
  reader.cpus("cpus", device.cpus, cpus);
  reader.bytes("memory", device.memory_bytes, false, memory_bytes);
  if (const toml::node* const poll = reader.node("poll"); poll != nullptr && poll->value<std::string>() != "automatic")
    reader.milliseconds("poll", device.poll_ms);
  reader.finish();
  const toml::node* const name = table->get("name");
  if (name == nullptr) return mistakes.add(node, "device.name: it is missing; expected a name such as \"cpu0\"");
  if (!device.name.empty() && !is_name(device.name))
    return reader.mistake("name", *name,
                          '"' + device.name + "\" is no name; expected at most " +
                              std::to_string(transport::protocol::kMaxName - 1) + " letters, digits, and \"._-\"");
  if (device.name == "cpu" || device.name == "reference")
    return reader.mistake("name", *name, '"' + device.name + "\" is what a backend is called; expected another name");
  if (std::ranges::find(config.devices, device.name, &DeviceConfig::name) != config.devices.end())
    return reader.mistake("name", *name, '"' + device.name + "\" is declared twice; expected every name once");
  config.devices.push_back(std::move(device));
}

void read_limits(TomlTable& reader, const Config& config, LimitValues& limits) {
  reader.count("sessions", limits.sessions, 0, true);
  reader.count("queues", limits.queues, 0, true);
  reader.count("arenas", limits.arenas, 0, true);
  reader.bytes("arena_bytes", limits.arena_bytes, true, memory_bytes);
  reader.bytes("device_bytes", limits.device_bytes, true, [&config] {
    std::uint64_t most = 0;
    for (const DeviceConfig& device : config.devices) most = std::max(most, device.memory_bytes);
    return most;
  });
  reader.count("handles", limits.handles, 0, true);
  reader.count("plans", limits.plans, 1, true);
  reader.bytes("graph_bytes", limits.graph_bytes, true, {});
  reader.count("compile_ms", limits.compile_ms, 1, true);
  reader.count("jobs", limits.jobs, 0, true);
  reader.count("models", limits.models, 0, true);
  reader.bytes("model_bytes", limits.model_bytes, true,
               [&config] { return file_system_bytes(config.state_directory); });
  reader.count("weight", limits.weight, 1, false);
  reader.count("sessions_a_second", limits.sessions_a_second, 1, true);
}

std::optional<std::uint32_t> uid_of(const std::string& name) {
  if (const passwd* const entry = getpwnam(name.c_str())) return entry->pw_uid;
  std::uint32_t uid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), uid);
  return error == std::errc() && end == name.data() + name.size() ? std::optional(uid) : std::nullopt;
}

void read_user_limits(const toml::node& node, Config& config, Mistakes& mistakes) {
  const toml::table* const users = node.as_table();
  if (users == nullptr) return mistakes.add(node, "limits.user: expected tables such as [limits.user.NAME]");
  for (const auto& [key, value] : *users) {
    const std::string name(key.str());
    const std::string where = "limits.user." + name;
    const toml::table* const table = value.as_table();
    if (table == nullptr) {
      std::string what = where;
      mistakes.add(value, what.append(": expected a table, [").append(where).append("]"));
      continue;
    }
    TomlTable reader(*table, where + ".", mistakes);
    LimitValues limits = config.limits;
    read_limits(reader, config, limits);
    reader.finish();
    if (const auto uid = uid_of(name))
      config.user_limits[*uid] = limits;
    else
      mistakes.add(key.source().begin.line, where + ": there is no such user; expected a user's name or number");
  }
}

void set_defaults(const ConfigOptions& options, Config& config) {
  config.user = options.user;
  config.libexec_directory = libexec_directory();
  if (options.user) {
    if (const std::string runtime = environment("XDG_RUNTIME_DIR"); runtime.starts_with('/'))
      config.socket = runtime + "/mlaccel/mld.sock";
    if (const std::string state = user_directory("XDG_STATE_HOME", "/.local/state"); !state.empty())
      config.state_directory = state + "/mlaccel";
  } else {
    config.socket = "/run/mlaccel/mld.sock";
    config.state_directory = "/var/lib/mlaccel";
  }
}

void read_devices(const toml::node* devices, Config& config, Mistakes& mistakes) {
  const std::vector<int> cpus = allowed_cpus();
  if (const toml::array* const list = devices != nullptr ? devices->as_array() : nullptr) {
    for (const toml::node& device : *list) read_device(device, cpus, config, mistakes);
  } else if (devices != nullptr) {
    mistakes.add(*devices, "device: expected tables that begin with [[device]]");
  }
  if (config.devices.empty()) config.devices.push_back({.name = "cpu0"});
  // Three quarters of the memory are the devices'; what is not given to one by name is shared by the others.
  std::uint64_t left = memory_bytes() / 4 * 3, sharing = 0;
  for (const DeviceConfig& device : config.devices) {
    left -= std::min(left, device.memory_bytes);
    sharing += device.memory_bytes == 0 ? 1 : 0;
  }
  for (DeviceConfig& device : config.devices)
    if (device.memory_bytes == 0) device.memory_bytes = left / sharing;
}

// The defaults that are shares of what has been read by now.
void set_shares(Config& config) {
  config.limits.arena_bytes = memory_bytes() / 2;
  for (const DeviceConfig& device : config.devices)
    config.limits.device_bytes = std::max(config.limits.device_bytes, device.memory_bytes);
  config.limits.model_bytes = file_system_bytes(config.state_directory) / 10;
}

void read_config(const toml::table& file, const ConfigOptions& options, Config& config, Mistakes& mistakes) {
  TomlTable reader(file, "", mistakes);
  reader.path("socket", config.socket, kMaxSocketPath);
  if (!options.socket.empty()) config.socket = options.socket;
  reader.path("admin_socket", config.admin_socket, kMaxSocketPath);
  reader.path("state_directory", config.state_directory);
  if (!options.state.empty()) config.state_directory = options.state;
  reader.path("libexec_directory", config.libexec_directory);
  reader.text("admin_group", config.admin_group);
  reader.text("worker_user", config.worker_user);
  reader.choice("log_level", config.log_level, {"trace", "debug", "info", "warning", "error"});
  reader.choice("loop", config.loop, {"automatic", "io_uring", "epoll"});
  reader.choice("kernel", config.kernel, {"automatic", "on", "off"});
  reader.milliseconds("quantum", config.quantum_ms);
  reader.milliseconds("drain", config.drain_ms);
  reader.bytes("job_log_bytes", config.job_log_bytes, false, {});
  read_devices(reader.node("device"), config, mistakes);
  set_shares(config);
  if (const toml::node* const node = reader.node("limits")) {
    if (const toml::table* const table = node->as_table()) {
      TomlTable limits(*table, "limits.", mistakes);
      const toml::node* const users = limits.node("user");
      read_limits(limits, config, config.limits);
      limits.finish();
      if (users != nullptr) read_user_limits(*users, config, mistakes);
    } else {
      mistakes.add(*node, "limits: expected a table, [limits]");
    }
  }
  reader.finish();
}

}  // namespace

const LimitValues& Config::limits_of(std::uint32_t uid) const {
  const auto found = user_limits.find(uid);
  return found != user_limits.end() ? found->second : limits;
}

Config load_config(const ConfigOptions& options) {
  std::string path = options.path;
  if (path.empty()) {
    const std::string folder = options.user ? user_directory("XDG_CONFIG_HOME", "/.config") : "/etc";
    if (!folder.empty()) path = folder + "/mlaccel/mld.toml";
  }
  Config config;
  set_defaults(options, config);
  Mistakes mistakes(std::filesystem::path(path).filename());
  toml::table file;
  try {
    if (!path.empty()) file = toml::parse(read_file(path, options.path.empty()));
  } catch (const toml::parse_error& error) {
    const toml::source_position at = error.source().begin;
    mistakes.add(at.line, "column " + std::to_string(at.column) + ": " + std::string(error.description()));
  }
  if (mistakes.empty()) read_config(file, options, config, mistakes);
  if (!mistakes.empty())
    throw Error(
        Code::invalid_argument,
        std::to_string(mistakes.count()) + (mistakes.count() == 1 ? " mistake" : " mistakes") + ":\n" + mistakes.text(),
        path, "`mld --check-config` reads the file and says no more than this");
  if (config.socket.empty())
    throw Error(Code::invalid_argument, "there is no place for the socket: XDG_RUNTIME_DIR is not set", "mld --user",
                "set it, or name a path with --socket");
  if (config.socket.size() > kMaxSocketPath || !config.socket.starts_with('/'))
    throw Error(Code::invalid_argument,
                "\"" + config.socket + "\" is no absolute path of at most " + std::to_string(kMaxSocketPath) + " bytes",
                "--socket");
  if (config.state_directory.empty() || !config.state_directory.starts_with('/'))
    throw Error(Code::invalid_argument, "\"" + config.state_directory + "\" is no absolute path", "the state directory",
                "set HOME or XDG_STATE_HOME, or name a path with --state");
  if (config.admin_socket.empty())
    config.admin_socket = std::filesystem::path(config.socket).replace_filename("admin.sock");
  if (config.admin_socket == config.socket || config.admin_socket.size() > kMaxSocketPath)
    throw Error(Code::invalid_argument, "\"" + config.admin_socket + "\" is too long, or the clients' socket itself",
                "admin_socket");
  return config;
}

std::vector<std::string> keys_for_restart(const Config& running, const Config& next) {
  std::vector<std::string> keys;
  const auto compare = [&](const char* key, auto Config::*member) {
    if (running.*member != next.*member) keys.emplace_back(key);
  };
  compare("socket", &Config::socket);
  compare("admin_socket", &Config::admin_socket);
  compare("state_directory", &Config::state_directory);
  compare("libexec_directory", &Config::libexec_directory);
  compare("admin_group", &Config::admin_group);
  compare("worker_user", &Config::worker_user);
  compare("loop", &Config::loop);
  compare("kernel", &Config::kernel);
  compare("device", &Config::devices);
  return keys;
}

void reload_from(Config& running, const Config& next) {
  running.log_level = next.log_level;
  running.quantum_ms = next.quantum_ms;
  running.drain_ms = next.drain_ms;
  running.job_log_bytes = next.job_log_bytes;
  running.limits = next.limits;
  running.user_limits = next.user_limits;
}

}  // namespace ml::daemon
