#include "daemon/service/service.h"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <ctime>
#include <sstream>

#include "daemon/admin/admin_server.h"
#include "daemon/jobs/jobs.h"
#include "daemon/limits/limits.h"
#include "daemon/loop/loop.h"
#include "daemon/process/users.h"
#include "daemon/registry/registry.h"
#include "daemon/service/listening_socket.h"
#include "daemon/service/log.h"
#include "daemon/service/supervisor.h"
#include "daemon/sessions/sessions.h"
#include "daemon/store/store.h"
#include "daemon/workers/devices.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

std::uint64_t clock_ns(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

std::unique_ptr<Loop> make_loop(const Config& config) {
  if (config.loop == "epoll") return Loop::create(Loop::Kind::epoll, nullptr);
  if (config.loop == "io_uring") return Loop::create(Loop::Kind::io_uring, nullptr);
  std::string why_not;
  auto loop = Loop::create(Loop::Kind::automatic, &why_not);
  if (!why_not.empty()) spdlog::info("the event loop uses epoll, since io_uring is refused: {}", why_not);
  return loop;
}

// From here on the signals that mld lives by come as reads.
transport::UniqueFd take_signals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&wanted, number);
  pthread_sigmask(SIG_BLOCK, &wanted, nullptr);
  transport::UniqueFd signals(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) throw Error(Code::io, "signalfd failed", "mld");
  return signals;
}

std::vector<ListeningSocket> listen_on(const Config& config, const std::string& path, int type) {
  std::vector<ListeningSocket> sockets;
  for (transport::UniqueFd& activated : activated_sockets(type)) sockets.emplace_back(std::move(activated));
  if (sockets.empty()) sockets.emplace_back(path, type, config.user ? 0600 : 0666);
  return sockets;
}

void log_lines(const Error& error) {
  std::istringstream lines(error.what());
  for (std::string line; std::getline(lines, line);) spdlog::error("{}", line);
}

}  // namespace

struct Service::Parts {
  Parts(const ConfigOptions& its_options, std::string its_version)
      : options(its_options), version(std::move(its_version)), config(load_config(options)) {}
  ~Parts();
  void start();
  void connect();
  void read_signal();
  void stop();
  void reload();
  std::vector<std::string> problems() const;

  const ConfigOptions options;
  const std::string version;
  const std::uint64_t started_at = clock_ns(CLOCK_REALTIME);
  Config config;
  bool draining = false;
  // In the order in which they are made: each uses those before it.
  std::vector<ListeningSocket> client_sockets = listen_on(config, config.socket, SOCK_SEQPACKET);
  transport::UniqueFd state_lock = lock_state_directory(config.state_directory);
  std::vector<ListeningSocket> admin_sockets = listen_on(config, config.admin_socket, SOCK_STREAM);
  transport::UniqueFd signals = take_signals();
  std::unique_ptr<Loop> loop = make_loop(config);
  Limits limits{config};
  Devices devices{*loop, config};
  Store store{config.state_directory + "/mld.sqlite"};
  Registry registry{*loop, config, limits, store};
  Sessions sessions{*loop, config, limits, devices, registry};
  Jobs jobs{*loop, config, limits, devices, sessions, store};
  AdminServer admin{{*loop, config, limits, devices, sessions, registry, jobs, store},
                    {version, started_at, [this] { return draining; }, [this] { return problems(); }}};
};

Service::Parts::~Parts() { loop->unwatch(signals.get()); }

void Service::Parts::connect() {
  devices.on_ready = [this](Device& device) {
    spdlog::info("{} is ready: worker {}, {}", device.config.name, device.serving->pid(),
                 device.serving->fingerprint());
    sessions.device_ready();
  };
  devices.on_death = [this](Device& device, WorkerProcess& worker, const std::string& how) {
    spdlog::warn("the worker of {} (pid {}) died: {}", device.config.name, worker.pid(), how);
    registry.worker_died(worker);
    sessions.worker_died(worker, how);
  };
  devices.on_restart_failed = [](Device& device, const std::string& why) {
    spdlog::error("no worker for {}: {}; it is tried again", device.config.name, why);
  };
  devices.on_kernel_trouble = [](const std::string& what) { spdlog::error("the kernel module: {}", what); };
  devices.on_session_ended = [this](Device&, const worker_protocol::SessionEnded& ended, std::string_view why) {
    sessions.session_ended(ended, why);
  };
  jobs.on_worker_gone = [this](WorkerProcess& worker) { registry.worker_died(worker); };
  jobs.on_ended = [](const JobView& job) {
    spdlog::info("job {} ({}) of {} {}{}", job.id, job.name, user_name(job.uid),
                 job.state == "cancelled" ? "was cancelled" : (job.state == "done" ? "is done" : "failed: "),
                 job.reason);
  };
}

void Service::Parts::start() {
  set_log_level(config.log_level);
  connect();
  for (const std::string& name : store.drained())
    if (devices.find(name) != nullptr) devices.drain(name, true);
  devices.start();
  if (!devices.why_no_kernel().empty()) spdlog::info("clients use shared memory: {}", devices.why_no_kernel());
  for (const Device& device : devices.all())
    if (device.node) spdlog::info("{} is {} of the kernel module", device.config.name, device.node->path());
  for (const std::string& damaged : registry.scan()) spdlog::warn("set aside: {}", damaged);
  loop->watch(signals.get(), EPOLLIN, [this](std::uint32_t) { read_signal(); });
  jobs.recover();
  if (const std::string missing = jobs.cgroups_missing(); !missing.empty())
    spdlog::info("jobs stay in mld's cgroup: {}", missing);
  for (const ListeningSocket& socket : client_sockets) sessions.listen(transport::UniqueFd(dup(socket.fd.get())));
  std::vector<transport::UniqueFd> for_admin;
  for (const ListeningSocket& socket : admin_sockets) for_admin.emplace_back(dup(socket.fd.get()));
  admin.listen(std::move(for_admin));
  spdlog::info("mld {} serves {} with {} ({}), state in {}", version, config.socket,
               config.devices.size() == 1 ? "one device" : std::to_string(config.devices.size()) + " devices",
               loop->name(), config.state_directory);
  notify_supervisor("READY=1");
}

void Service::Parts::read_signal() {
  signalfd_siginfo signal{};
  if (read(signals.get(), &signal, sizeof signal) != sizeof signal) return;
  if (signal.ssi_signo == SIGHUP) return reload();
  spdlog::info("{} from pid {}", strsignal(static_cast<int>(signal.ssi_signo)), signal.ssi_pid);
  if (draining) return loop->stop();
  stop();
}

void Service::Parts::stop() {
  draining = true;
  notify_supervisor("STOPPING=1");
  sessions.stop_listening();
  client_sockets.clear();
  jobs.drain([this] { loop->stop(); });
}

// What mlctl status tells administrators beside what parts know of themselves.
std::vector<std::string> Service::Parts::problems() const {
  std::vector<std::string> found;
  if (const std::string missing = jobs.cgroups_missing(); !missing.empty())
    found.push_back("jobs stay in mld's cgroup: " + missing);
  return found;
}

void Service::Parts::reload() {
  notify_supervisor("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(clock_ns(CLOCK_MONOTONIC) / 1000));
  try {
    const Config next = load_config(options);
    reload_from(config, next);
    set_log_level(config.log_level);
    sessions.limits_changed();
    devices.limits_changed();
    std::string keys;
    for (const std::string& key : keys_for_restart(config, next)) keys += (keys.empty() ? "" : ", ") + key;
    spdlog::info("reloaded the configuration{}",
                 keys.empty() ? "" : "; these keys changed and wait for the next start: " + keys);
  } catch (const Error& error) {
    spdlog::error("the configuration is not reloaded and stays as it was:");
    log_lines(error);
  }
  notify_supervisor("READY=1");
}

Service::Service(const ConfigOptions& options, std::string version)
    : parts_(std::make_unique<Parts>(options, std::move(version))) {
  parts_->start();
}

Service::~Service() = default;

void Service::run() { parts_->loop->run(); }

}  // namespace ml::daemon
