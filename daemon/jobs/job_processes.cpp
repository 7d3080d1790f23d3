#include "daemon/jobs/job_processes.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>

#include "daemon/process/spawn.h"
#include "daemon/process/users.h"
#include "libmlclient/transport/seqpacket.h"

namespace ml::daemon {
namespace {

using transport::UniqueFd;
namespace protocol = job_protocol;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kNoticeNs = 10 * kSecond;  // mld-job has to end when its worker is gone
constexpr std::uint64_t kLongestGraceNs = 365 * 24 * 3600 * kSecond;
constexpr std::uint64_t kCloseNs = 5 * kSecond;  // a worker has to end a session whose client is gone
constexpr std::size_t kMaxFailure = 4096;
constexpr int kLastReads = 256;  // more than a pipe holds (1 MiB) or a socket

[[noreturn]] void refuse(const char* what) {
  throw Error(Code::io, std::string(what) + " failed: " + std::strerror(errno));
}

struct Pair {
  UniqueFd ours, theirs;
};
Pair socket_pair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) refuse("socketpair");
  Pair pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
  fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK);
  return pair;
}
Pair log_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) refuse("pipe");
  Pair pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
  fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK);
  return pair;
}

// A file in memory that can't be changed any more, at its beginning.
UniqueFd file_of(const std::string& text) {
  UniqueFd file(memfd_create("job", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) refuse("memfd_create");
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = write(file.get(), text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) refuse("writing the job file");
    done += static_cast<std::size_t>(written);
  }
  fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  lseek(file.get(), 0, SEEK_SET);
  return file;
}

// Who the owner is; a uid without an entry in the user database is its number and the group it came with.
Identity owner_of(const StoredJob& job) {
  try {
    return identity_of(job.uid);
  } catch (const Error& error) {
    if (error.code() != Code::not_found) throw;
    return {job.uid, job.gid, {job.gid}};
  }
}

WorkerSpec worker_spec(const StoredJob& job, const std::vector<Device*>& devices) {
  WorkerSpec spec;
  spec.name = "job " + std::to_string(job.id);
  spec.backend = job.backend;
  spec.role = worker_protocol::Role::training;
  spec.poll_ms = devices.front()->config.poll_ms;
  for (const Device* device : devices) {
    spec.devices.push_back(device->config.name);
    spec.preemption_fds.push_back(device->preemption_fd.get());
    spec.cpus.insert(spec.cpus.end(), device->config.cpus.begin(), device->config.cpus.end());
    spec.memory_bytes += job.memory_bytes != 0 ? job.memory_bytes : device->config.memory_bytes;
  }
  // A device without core sets has every CPU, and so does a gang with it.
  if (std::ranges::any_of(devices, [](const Device* device) { return device->config.cpus.empty(); })) spec.cpus.clear();
  std::ranges::sort(spec.cpus);
  spec.cpus.erase(std::unique(spec.cpus.begin(), spec.cpus.end()), spec.cpus.end());
  return spec;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : "+") + name;
  return text;
}

}  // namespace

struct JobProcesses::State : std::enable_shared_from_this<State> {
  State(Loop& with, const Config& settings, Sessions& all, const Cgroups& groups, const StoredJob& what,
        JobEvents wanted)
      : loop(with),
        config(settings),
        sessions(all),
        cgroups(groups),
        job(what.id),
        owner(what.uid),
        events(std::move(wanted)) {}

  // Calls a member later from the loop, if this still lives then.
  template <class F>
  auto alive(F body) {
    return [self = weak_from_this(), body](auto&&... arguments) {
      if (const auto state = self.lock()) body(*state, arguments...);
    };
  }

  void start(const StoredJob& what, const std::vector<Device*>& devices);
  void start_worker_process(const StoredJob& what, const std::vector<Device*>& devices);
  void close();
  bool read_output();   // false: there is nothing more now
  bool read_control();  // the same
  void child_ended();
  void worker_died(const std::string& how);
  void send_signal(int number) const;
  void kill_child_after(std::uint64_t ns);
  void finish_if_over();
  JobEnd result() const;

  Loop& loop;
  const Config& config;
  Sessions& sessions;
  const Cgroups& cgroups;
  const std::uint64_t job;
  const uid_t owner;
  JobEvents events;
  std::unique_ptr<WorkerProcess> worker;
  Child child;
  UniqueFd control, output;
  std::optional<Loop::TimerId> timer;
  Clock::time_point kill_at;  // while there is a timer and the child runs
  bool session_open = false, child_running = false, over = false;
  int status = 0;            // of the child, as wait() gives it
  std::string failure;       // what mld-job said
  std::string worker_death;  // empty: it lives, or was told to go
};

void JobProcesses::State::start_worker_process(const StoredJob& what, const std::vector<Device*>& devices) {
  WorkerEvents told;
  told.died = alive([](State& state, const std::string& how) { state.worker_died(how); });
  told.session_ended = alive([](State& state, const worker_protocol::SessionEnded& ended, std::string_view why) {
    state.sessions.session_ended(ended, why);
  });
  std::optional<Identity> identity;
  if (!config.user) identity = identity_of(config.worker_user);
  worker = start_worker(loop, config.libexec_directory + "/mld-worker", worker_spec(what, devices), identity,
                        what.starts, std::move(told));
}

void JobProcesses::State::start(const StoredJob& what, const std::vector<Device*>& devices) {
  Pair session = socket_pair(), commands = socket_pair(), log = log_pipe();
  const UniqueFd text = file_of(what.specification);
  SpawnOptions options;
  options.program = config.libexec_directory + "/mld-job";
  options.arguments = {"--managed", "job " + std::to_string(what.id)};
  options.environment = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "USER=" + user_name(what.uid)};
  options.fds = {{text.get(), 0},
                 {log.theirs.get(), 1},
                 {log.theirs.get(), 2},
                 {session.theirs.get(), protocol::kSessionFd},
                 {commands.theirs.get(), protocol::kControlFd}};
  options.directory = what.directory;
  options.private_network = true;
  if (!config.user) {
    options.identity = owner_of(what);
    options.cgroup = cgroups.make(what.uid, what.id);
  }
  start_worker_process(what, devices);
  child = spawn(options);
  child_running = true;
  control = std::move(commands.ours);
  output = std::move(log.ours);
  loop.watch(child.pidfd.get(), EPOLLIN, alive([](State& state, std::uint32_t) { state.child_ended(); }));
  loop.watch(output.get(), EPOLLIN, alive([](State& state, std::uint32_t) { state.read_output(); }));
  loop.watch(control.get(), EPOLLIN, alive([](State& state, std::uint32_t) { state.read_control(); }));
  session_open = true;
  sessions.adopt(std::move(session.ours), {what.uid, what.gid, child.pid, false},
                 {what.id, worker.get(), joined(worker->spec().devices), alive([](State& state) {
                    state.session_open = false;
                    state.loop.post(state.alive([](State& later) { later.finish_if_over(); }));
                  })});
}

bool JobProcesses::State::read_output() {
  std::array<char, 16384> buffer;
  const ssize_t count = read(output.get(), buffer.data(), buffer.size());
  if (count > 0) {
    events.output({buffer.data(), static_cast<std::size_t>(count)});
    return true;
  }
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  loop.unwatch(output.get());
  output.reset();
  return false;
}

bool JobProcesses::State::read_control() {
  transport::Packet packet;
  const transport::Received received =
      transport::receive_packet(control.get(), transport::protocol::kMaxPacket, packet);
  if (received == transport::Received::nothing) return false;
  if (received == transport::Received::packet && packet.fds.empty()) {
    const auto kind = static_cast<protocol::Kind>(packet.kind());
    const auto* const progress = packet.as<protocol::Progress>();
    if (kind == protocol::Kind::progress && progress != nullptr && packet.text().empty()) {
      events.progress(*progress);
      return true;
    }
    if (kind == protocol::Kind::failed && packet.as<protocol::Failed>() != nullptr) {
      failure = packet.text().substr(0, kMaxFailure);
      return true;
    }
  }
  // It has ended, or breaks the rules.
  loop.unwatch(control.get());
  control.reset();
  send_signal(SIGKILL);
  return false;
}

void JobProcesses::State::child_ended() {
  loop.unwatch(child.pidfd.get());
  child_running = false;
  while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  // Whatever the process had said before it ended. Others that hold the other ends may say more, and for ever.
  for (int reads = 0; reads < kLastReads && output && read_output(); ++reads) continue;
  for (int reads = 0; reads < kLastReads && control && read_control(); ++reads) continue;
  if (timer) loop.cancel(*timer);
  timer = loop.after(kCloseNs, alive([](State& state) {
                       if (state.session_open && state.worker) state.worker->kill();
                     }));
  finish_if_over();
}

void JobProcesses::State::worker_died(const std::string& how) {
  if (child_running) worker_death = how;
  events.worker_gone(*worker);
  sessions.worker_died(*worker, how);
  loop.post(alive([](State& state) {
    state.worker.reset();
    state.finish_if_over();
  }));
  if (child_running) kill_child_after(kNoticeNs);
}

void JobProcesses::State::send_signal(int number) const {
  if (child_running) ::kill(child.pid, number);
}

// The earliest time counts: being asked to stop again puts nothing off.
void JobProcesses::State::kill_child_after(std::uint64_t ns) {
  const Clock::time_point at = Clock::now() + std::chrono::nanoseconds(std::min(ns, kLongestGraceNs));
  if (timer && kill_at <= at) return;
  if (timer) loop.cancel(*timer);
  kill_at = at;
  timer = loop.after(std::min(ns, kLongestGraceNs), alive([](State& state) { state.send_signal(SIGKILL); }));
}

void JobProcesses::State::finish_if_over() {
  if (over || child_running || session_open) return;
  over = true;
  const JobEnd end = result();
  close();
  events.ended(end);
}

void JobProcesses::State::close() {
  if (timer) loop.cancel(*std::exchange(timer, std::nullopt));
  if (child_running) {
    loop.unwatch(child.pidfd.get());
    send_signal(SIGKILL);
    while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
    }
    child_running = false;
  }
  for (UniqueFd* fd : {&control, &output}) {
    if (!*fd) continue;
    loop.unwatch(fd->get());
    fd->reset();
  }
  if (worker) {
    events.worker_gone(*worker);
    worker.reset();
  }
  cgroups.remove(owner, job);
}

JobEnd JobProcesses::State::result() const {
  if (WIFEXITED(status)) {
    const int code = WEXITSTATUS(status);
    if (code == protocol::kExitDone) return {JobEnd::How::done, code, {}};
    if (code == protocol::kExitGaveWay) return {JobEnd::How::gave_way, code, {}};
    if (code == protocol::kExitFailed)
      return {JobEnd::How::failed, code, failure.empty() ? "mld-job failed; its log says more" : failure};
    if (!worker_death.empty()) return {JobEnd::How::crashed, code, "the worker ended: " + worker_death};
    if (code == protocol::kExitDeviceLost) return {JobEnd::How::crashed, code, "the device was lost"};
    return {JobEnd::How::crashed, code, "mld-job ended with exit code " + std::to_string(code)};
  }
  if (!worker_death.empty()) return {JobEnd::How::crashed, 0, "the worker ended: " + worker_death};
  const int signal = WTERMSIG(status);
  const char* const name = sigdescr_np(signal);
  return {JobEnd::How::crashed, 128 + signal,
          "mld-job was killed by signal " + std::to_string(signal) + (name ? " (" + std::string(name) + ")" : "")};
}

JobProcesses::JobProcesses(Loop& loop, const Config& config, Sessions& sessions, const Cgroups& cgroups,
                           const StoredJob& job, const std::vector<Device*>& devices, JobEvents events)
    : state_(std::make_shared<State>(loop, config, sessions, cgroups, job, std::move(events))) {
  try {
    state_->start(job, devices);
  } catch (...) {
    state_->over = true;
    state_->close();
    throw;
  }
}

JobProcesses::~JobProcesses() {
  state_->over = true;
  if (state_->session_open && state_->worker) state_->sessions.worker_died(*state_->worker, "mld ended it");
  state_->close();
}

void JobProcesses::stop(protocol::StopReason reason, std::uint64_t grace_ns) {
  protocol::Stop message{};
  message.header.kind = static_cast<std::uint32_t>(protocol::Kind::stop);
  message.reason = static_cast<std::uint32_t>(reason);
  if (state_->control) transport::send_message(state_->control.get(), message);
  if (state_->child_running) state_->kill_child_after(grace_ns);  // else the timer watches its worker
}

void JobProcesses::kill() { state_->send_signal(SIGKILL); }

WorkerProcess* JobProcesses::worker() const { return state_->worker_death.empty() ? state_->worker.get() : nullptr; }

}  // namespace ml::daemon
