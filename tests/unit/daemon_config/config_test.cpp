// mld.toml: what it means, and that all its mistakes are told at once.
#include "daemon/config/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "daemon/config/machine.h"
#include "daemon/config/units.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

class ConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "mld-config-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~ConfigTest() override {
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
  }

  Config load(const std::string& text, bool user = false) {
    const std::string path = folder_ / "mld.toml";
    std::ofstream(path) << text;
    return load_config({.user = user, .path = path});
  }
  // The mistakes, without what stands around them.
  std::string mistakes(const std::string& text) {
    try {
      load(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::invalid_argument);
      EXPECT_EQ(error.context(), folder_ / "mld.toml");
      return error.message();
    }
    return "none";
  }

  std::filesystem::path folder_;
};

TEST_F(ConfigTest, an_empty_file_gives_the_defaults) {
  const Config config = load("");
  EXPECT_EQ(config.socket, "/run/mlaccel/mld.sock");
  EXPECT_EQ(config.admin_socket, "/run/mlaccel/admin.sock");
  EXPECT_EQ(config.state_directory, "/var/lib/mlaccel");
  EXPECT_EQ(config.log_level, "info");
  EXPECT_EQ(config.quantum_ms, 30'000u);
  ASSERT_EQ(config.devices.size(), 1u);
  EXPECT_EQ(config.devices[0].name, "cpu0");
  EXPECT_EQ(config.devices[0].backend, "cpu");
  EXPECT_TRUE(config.devices[0].cpus.empty());
  EXPECT_EQ(config.devices[0].memory_bytes, memory_bytes() / 4 * 3);
  EXPECT_EQ(config.limits.sessions, 256u);
  EXPECT_EQ(config.limits.arena_bytes, memory_bytes() / 2);
  EXPECT_EQ(config.limits.device_bytes, config.devices[0].memory_bytes);
  EXPECT_GT(config.limits.model_bytes, 0u);
  EXPECT_EQ(&config.limits_of(1000), &config.limits);
}

TEST_F(ConfigTest, every_key_is_read) {
  const Config config = load(R"(
socket = "/a/clients.sock"
admin_socket = "/a/admins.sock"
state_directory = "/a/state"
libexec_directory = "/a/libexec"
admin_group = "wheel"
worker_user = "nobody"
log_level = "debug"
loop = "epoll"
kernel = "off"
quantum = "2min"
drain = "500ms"
job_log_bytes = "1MiB"
[[device]]
name = "small"
cpus = "0"
memory = "1GiB"
[[device]]
name = "slow"
backend = "reference"
memory = 4096
poll = "2ms"
[limits]
sessions = 1
queues = 2
arenas = 3
arena_bytes = "4KiB"
device_bytes = "5MB"
handles = 6
plans = 7
graph_bytes = "8B"
compile_ms = 9
jobs = 10
models = 11
model_bytes = "unlimited"
weight = 12
sessions_a_second = "unlimited"
[limits.user.root]
jobs = 0
[limits.user.4242]
weight = 200
)");
  EXPECT_EQ(config.socket, "/a/clients.sock");
  EXPECT_EQ(config.admin_socket, "/a/admins.sock");
  EXPECT_EQ(config.state_directory, "/a/state");
  EXPECT_EQ(config.libexec_directory, "/a/libexec");
  EXPECT_EQ(config.admin_group, "wheel");
  EXPECT_EQ(config.worker_user, "nobody");
  EXPECT_EQ(config.log_level, "debug");
  EXPECT_EQ(config.loop, "epoll");
  EXPECT_EQ(config.kernel, "off");
  EXPECT_EQ(config.quantum_ms, 120'000u);
  EXPECT_EQ(config.drain_ms, 500u);
  EXPECT_EQ(config.job_log_bytes, 1u << 20);
  ASSERT_EQ(config.devices.size(), 2u);
  EXPECT_EQ(config.devices[0].cpus, std::vector<int>{0});
  EXPECT_EQ(config.devices[0].memory_bytes, 1u << 30);
  EXPECT_EQ(config.devices[1].backend, "reference");
  EXPECT_EQ(config.devices[1].memory_bytes, 4096u);
  EXPECT_EQ(config.devices[0].poll_ms, DeviceConfig::kPollByCpus);
  EXPECT_EQ(config.devices[1].poll_ms, 2u);
  const LimitValues expected{1, 2, 3, 4096, 5'000'000, 6, 7, 8, 9, 10, 11, kUnlimited, 12, kUnlimited};
  EXPECT_EQ(config.limits, expected);
  EXPECT_EQ(config.limits_of(0).jobs, 0u);
  EXPECT_EQ(config.limits_of(0).sessions, 1u) << "what a user's table leaves out is everybody's";
  EXPECT_EQ(config.limits_of(4242).weight, 200u);
  EXPECT_EQ(config.limits_of(1), config.limits);
}

TEST_F(ConfigTest, all_mistakes_are_told_at_once_with_line_key_and_what_is_expected) {
  EXPECT_EQ(mistakes(R"(sokcet = "/run/x"
log_level = "inof"
quantum = 30
state_directory = "state"
[[device]]
name = "cpu0"
memory = "8 gigs"
cpus = "3-1"
[[device]]
name = "cpu0"
[[device]]
backend = "cpu"
[limits]
sessions = -1
weight = 0
jobs = "many"
model_byte = 3
[limits.user.nobody-has-this-name]
jobs = 1
)"),
            R"(13 mistakes:
mld.toml:1: sokcet: there is no such key; did you mean socket?
mld.toml:2: log_level: "inof" is not valid; expected one of "trace", "debug", "info", "warning", "error"
mld.toml:3: quantum: expected a duration such as "500ms", "30s", "5min" or "2h"
mld.toml:4: state_directory: "state" is not absolute; expected a path that begins with /
mld.toml:7: device.memory: "8 gigs" is not valid; expected a size such as "512MiB" or "8GiB", a share such as "50%"
mld.toml:8: device.cpus: "3-1" is not valid; expected CPU numbers such as "0-3,8", or "all"
mld.toml:10: device.name: "cpu0" is declared twice; expected every name once
mld.toml:11: device.name: it is missing; expected a name such as "cpu0"
mld.toml:14: limits.sessions: -1 is too small; expected a whole number of at least 0, or "unlimited"
mld.toml:15: limits.weight: 0 is too small; expected a whole number of at least 1
mld.toml:16: limits.jobs: expected a whole number of at least 0, or "unlimited"
mld.toml:17: limits.model_byte: there is no such key; did you mean model_bytes?
mld.toml:18: limits.user.nobody-has-this-name: there is no such user; expected a user's name or number)");
}

struct Mistake {
  const char* text;
  const char* told;
};
class MistakeTest : public ConfigTest, public testing::WithParamInterface<Mistake> {};
TEST_P(MistakeTest, is_told) { EXPECT_EQ(mistakes(GetParam().text), "1 mistake:\n" + std::string(GetParam().told)); }
INSTANTIATE_TEST_SUITE_P(
    Cases, MistakeTest,
    testing::Values(
        Mistake{"device = 3", "mld.toml:1: device: expected tables that begin with [[device]]"},
        Mistake{"device = [3]", "mld.toml:1: device: expected tables that begin with [[device]]"},
        Mistake{"limits = 3", "mld.toml:1: limits: expected a table, [limits]"},
        Mistake{"[limits]\nuser = 3", "mld.toml:2: limits.user: expected tables such as [limits.user.NAME]"},
        Mistake{"[limits.user]\nroot = 3", "mld.toml:2: limits.user.root: expected a table, [limits.user.root]"},
        Mistake{"[[device]]\nname = \"a b\"",
                "mld.toml:2: device.name: \"a b\" is no name; expected at most 63 letters, digits, and \"._-\""},
        Mistake{"[[device]]\nname = \"cpu\"",
                "mld.toml:2: device.name: \"cpu\" is what a backend is called; expected another name"},
        Mistake{"[[device]]\nname = \"a\"\nbackend = \"cuda\"",
                "mld.toml:3: device.backend: \"cuda\" is not valid; expected one of \"cpu\", \"reference\""},
        Mistake{"socket = \"\"", "mld.toml:1: socket: \"\" is not absolute; expected a path that begins with /"},
        Mistake{"admin_group = \"\"", "mld.toml:1: admin_group: expected a text"},
        Mistake{"zzzzzz = 1",
                "mld.toml:1: zzzzzz: there is no such key; expected one of socket, admin_socket, state_directory, "
                "libexec_directory, admin_group, worker_user, log_level, loop, kernel, quantum, drain, job_log_bytes, "
                "device, "
                "limits"}));

TEST_F(ConfigTest, cpus_that_mld_may_not_use_are_a_mistake) {
  EXPECT_EQ(
      mistakes("[[device]]\nname = \"a\"\ncpus = \"0,65000\""),
      "1 mistake:\nmld.toml:3: device.cpus: mld can't use 65000; expected some of " + format_cpus(allowed_cpus()));
}

TEST_F(ConfigTest, a_syntax_error_names_line_and_column) {
  EXPECT_TRUE(mistakes("socket = \"/a\"\nloop = epoll\n").starts_with("1 mistake:\nmld.toml:2: column 8: "))
      << mistakes("socket = \"/a\"\nloop = epoll\n");
}

TEST_F(ConfigTest, socket_paths_are_bounded_by_the_system) {
  const std::string longest = "/" + std::string(106, 'a');
  EXPECT_EQ(load("socket = \"" + longest + "\"\nadmin_socket = \"/b\"").socket, longest);
  EXPECT_EQ(mistakes("socket = \"" + longest + "a\""),
            "1 mistake:\nmld.toml:1: socket: the path has 108 bytes; expected at most 107");
}

TEST_F(ConfigTest, a_named_file_must_be_there) {
  try {
    load_config({.path = folder_ / "missing.toml"});
    ADD_FAILURE() << "loaded a file that is not there";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::io);
    EXPECT_EQ(error.message(), "can't read it: No such file or directory");
  }
  EXPECT_THROW(load_config({.path = folder_}), Error) << "a folder is no file";
}

TEST_F(ConfigTest, a_users_daemon_lives_in_the_users_folders) {
  setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
  setenv("HOME", "/users/seven", 1);
  unsetenv("XDG_STATE_HOME");
  setenv("XDG_CONFIG_HOME", folder_.c_str(), 1);  // has no mlaccel/mld.toml, which is no mistake
  const Config config = load_config({.user = true});
  EXPECT_EQ(config.socket, "/run/user/7/mlaccel/mld.sock");
  EXPECT_EQ(config.admin_socket, "/run/user/7/mlaccel/admin.sock");
  EXPECT_EQ(config.state_directory, "/users/seven/.local/state/mlaccel");
  unsetenv("XDG_RUNTIME_DIR");
  EXPECT_THROW(load_config({.user = true}), Error) << "there is no place for the socket";
  EXPECT_EQ(load_config({.user = true, .socket = "/a/s"}).admin_socket, "/a/admin.sock");
}

TEST_F(ConfigTest, the_command_line_overrides_the_file) {
  const std::string path = folder_ / "mld.toml";
  std::ofstream(path) << "socket = \"/a/s\"\nstate_directory = \"/a/t\"\n";
  const Config config = load_config({.path = path, .socket = "/b/s", .state = "/b/t"});
  EXPECT_EQ(config.socket, "/b/s");
  EXPECT_EQ(config.admin_socket, "/b/admin.sock");
  EXPECT_EQ(config.state_directory, "/b/t");
}

TEST_F(ConfigTest, reloading_takes_limits_and_names_what_waits_for_a_restart) {
  Config running = load("loop = \"epoll\"\n[limits]\njobs = 1\n");
  const Config next = load("loop = \"io_uring\"\nquantum = \"1s\"\nsocket = \"/a/s\"\n[limits]\njobs = 2\n");
  EXPECT_EQ(keys_for_restart(running, next), (std::vector<std::string>{"socket", "admin_socket", "loop"}));
  reload_from(running, next);
  EXPECT_EQ(running.limits.jobs, 2u);
  EXPECT_EQ(running.quantum_ms, 1000u);
  EXPECT_EQ(running.socket, "/run/mlaccel/mld.sock");
  EXPECT_EQ(running.loop, "epoll");
}

// The comments of the packaged file say what the defaults are: with every "#key" uncommented nothing changes.
TEST_F(ConfigTest, the_packaged_file_says_the_defaults) {
  std::ifstream file("packaging/mld.toml");
  ASSERT_TRUE(file) << "run from the repository's root";
  std::string commented, uncommented;
  int keys = 0;
  for (std::string line; std::getline(file, line); commented += line + '\n') {
    const bool setting = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    const bool key = setting && line[1] != '[';
    keys += key ? 1 : 0;
    uncommented += (setting ? line.substr(1) : line) + '\n';
  }
  EXPECT_EQ(keys, 11 + 5 + 14) << "every key but libexec_directory, which depends on where mld is installed";
  const Config built_in = load(""), as_packaged = load(commented), as_commented = load(uncommented);
  for (const Config* config : {&as_packaged, &as_commented}) {
    EXPECT_EQ(keys_for_restart(built_in, *config), std::vector<std::string>{});
    EXPECT_EQ(config->log_level, built_in.log_level);
    EXPECT_EQ(config->quantum_ms, built_in.quantum_ms);
    EXPECT_EQ(config->drain_ms, built_in.drain_ms);
    EXPECT_EQ(config->job_log_bytes, built_in.job_log_bytes);
    EXPECT_EQ(config->limits, built_in.limits);
    EXPECT_TRUE(config->user_limits.empty());
  }
}

}  // namespace
}  // namespace ml::daemon
