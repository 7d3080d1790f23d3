#include "daemon/workers/worker_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <utility>

#include "libmlclient/transport/failure.h"

namespace ml::daemon {
namespace {

namespace wire = worker_protocol;
using transport::Packet;
using transport::Received;
using transport::UniqueFd;
using transport::protocol::Header;

constexpr auto kDone = static_cast<std::uint32_t>(transport::protocol::Kind::done);
constexpr auto kError = static_cast<std::uint32_t>(transport::protocol::Kind::error);

[[noreturn]] void refuse(const std::string& worker, const char* what) {
  throw Error(Code::io, std::string(what) + ": " + std::strerror(errno), "worker " + worker);
}

std::string how_it_ended(const siginfo_t& ended) {
  if (ended.si_code == CLD_EXITED) return "exited with status " + std::to_string(ended.si_status);
  const char* const name = sigdescr_np(ended.si_status);  // "Bad system call" is the sandbox's
  return "killed by signal " + std::to_string(ended.si_status) +
         (name != nullptr ? std::string(" (") + name + ")" : "");
}

// The table that the worker writes, as mld sees it.
class Running {
 public:
  explicit Running(const std::string& worker)
      : file_(memfd_create("mlaccel-running", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
    if (!file_) refuse(worker, "making its running table");
    if (ftruncate(file_.get(), sizeof(wire::RunningTable)) != 0 ||
        fcntl(file_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
      refuse(worker, "sizing its running table");
    void* const at = mmap(nullptr, sizeof(wire::RunningTable), PROT_READ, MAP_SHARED, file_.get(), 0);
    if (at == MAP_FAILED) refuse(worker, "mapping its running table");
    table_ = static_cast<const wire::RunningTable*>(at);
  }
  ~Running() { munmap(const_cast<wire::RunningTable*>(table_), sizeof(wire::RunningTable)); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  int fd() const { return file_.get(); }
  std::vector<std::uint64_t> sessions() const {
    std::vector<std::uint64_t> found;
    const auto add = [&found](std::span<const std::uint64_t> entries) {
      for (const std::uint64_t& entry : entries) {
        const std::uint64_t session = __atomic_load_n(&entry, __ATOMIC_RELAXED);
        if (session != 0 && std::ranges::find(found, session) == found.end()) found.push_back(session);
      }
    };
    add(table_->session);
    add(table_->loading);
    return found;
  }

 private:
  UniqueFd file_;
  const wire::RunningTable* table_ = nullptr;
};

// What outlives the WorkerProcess by as long as the loop may still come to it.
class Link : public std::enable_shared_from_this<Link> {
 public:
  Link(Loop& its_loop, WorkerSpec its_spec, std::uint32_t its_generation, WorkerEvents events)
      : loop(its_loop),
        spec(std::move(its_spec)),
        generation(its_generation),
        running(spec.name),
        events_(std::move(events)) {}

  void start(const std::string& program, const std::optional<Identity>& identity);
  void request(std::span<std::byte> message, std::string_view text, std::span<const int> fds,
               WorkerProcess::Answer answer);
  void kill(const std::string& why);
  void let_go();

  Loop& loop;
  WorkerSpec spec;
  std::uint32_t generation;
  Running running;
  Child child;
  bool ready = false;
  std::string fingerprint;

 private:
  struct Outgoing {
    std::vector<std::byte> message;
    std::string text;
    std::vector<UniqueFd> fds;
  };

  void configure();
  void send_or_keep(Outgoing outgoing);
  void send_what_waits();
  bool send(Outgoing& outgoing);
  void watch_socket();
  void socket_ready(std::uint32_t ready_events);
  void receive_all();
  void take(Packet& packet);
  void became_ready(const Packet& packet);
  void ended();
  void answer_all(const Error& error);

  WorkerEvents events_;
  UniqueFd socket_;
  bool watched_out_ = false;
  bool alive_ = false;   // the process runs as far as we know
  bool let_go_ = false;  // nobody wants events any more
  std::string killed_for_;
  std::uint64_t next_request_ = 1;
  std::map<std::uint64_t, WorkerProcess::Answer> pending_;
  std::vector<Outgoing> before_ready_;
  std::deque<Outgoing> outgoing_;  // the socket was full
};

void Link::start(const std::string& program, const std::optional<Identity>& identity) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) refuse(spec.name, "making its socket");
  socket_ = UniqueFd(ends[0]);
  const UniqueFd theirs(ends[1]);
  if (fcntl(socket_.get(), F_SETFL, O_NONBLOCK) != 0) refuse(spec.name, "making its socket");
  SpawnOptions options;
  options.program = program;
  options.fds = {{theirs.get(), wire::kSocketFd}, {STDERR_FILENO, STDERR_FILENO}};
  options.identity = identity;
  options.cpus = spec.cpus;
  options.private_network = true;
  child = spawn(options);
  alive_ = true;
  loop.watch(child.pidfd.get(), EPOLLIN, [link = shared_from_this()](std::uint32_t) { link->ended(); });
  watch_socket();
  configure();
}

void Link::configure() {
  wire::Configure message{};
  message.header.kind = static_cast<std::uint32_t>(wire::Kind::configure);
  message.header.request = next_request_++;
  message.role = static_cast<std::uint32_t>(spec.role);
  message.threads = static_cast<std::uint32_t>(spec.cpus.size());
  message.memory_bytes = spec.memory_bytes;
  message.poll_ns = spec.poll_ms == DeviceConfig::kPollByCpus ? ~std::uint64_t{0} : spec.poll_ms * 1'000'000;
  std::string devices;
  for (const std::string& device : spec.devices) devices += (devices.empty() ? "" : "+") + device;
  devices.copy(message.device, sizeof message.device - 1);
  spec.backend.copy(message.backend, sizeof message.backend - 1);
  pending_[message.header.request] = [this](Packet* answer, const Error* error) {
    if (answer != nullptr && answer->as<wire::Ready>() != nullptr) return became_ready(*answer);
    if (alive_)
      kill(error != nullptr ? "could not start: " + std::string(error->what()) : "answered CONFIGURE wrongly");
  };
  std::vector<int> fds{running.fd()};
  fds.insert(fds.end(), spec.preemption_fds.begin(), spec.preemption_fds.end());
  message.kernel = spec.kernel_fd >= 0 ? 1 : 0;
  if (message.kernel != 0) fds.push_back(std::exchange(spec.kernel_fd, -1));  // the caller closes it
  if (!transport::send_message(socket_.get(), message, {}, fds)) refuse(spec.name, "configuring it");
}

void Link::became_ready(const Packet& packet) {
  ready = true;
  fingerprint = packet.text();
  for (Outgoing& waiting : std::exchange(before_ready_, {})) send_or_keep(std::move(waiting));
  if (events_.ready) events_.ready();
}

void Link::request(std::span<std::byte> message, std::string_view text, std::span<const int> fds,
                   WorkerProcess::Answer answer) {
  const std::uint64_t number = next_request_++;
  reinterpret_cast<Header*>(message.data())->request = number;
  pending_[number] = std::move(answer);
  const auto fail = [&](const Error& error) {
    loop.post([link = shared_from_this(), number, error] {
      if (auto node = link->pending_.extract(number)) node.mapped()(nullptr, &error);
    });
  };
  if (!alive_) {
    fail(Error(Code::device_lost, "the worker of " + spec.name + " is gone", {}, "connect again"));
    return;
  }
  Outgoing outgoing{{message.begin(), message.end()}, std::string(text), {}};
  for (const int fd : fds) {
    outgoing.fds.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!outgoing.fds.back()) {
      fail(Error(Code::no_space, std::string("mld can't hand a file to the worker: ") + std::strerror(errno), {},
                 "raise mld's limit on open files (LimitNOFILE)"));
      return;
    }
  }
  if (ready)
    send_or_keep(std::move(outgoing));
  else
    before_ready_.push_back(std::move(outgoing));
}

void Link::send_or_keep(Outgoing outgoing) {
  if (outgoing_.empty() && send(outgoing)) return;
  outgoing_.push_back(std::move(outgoing));
  watch_socket();
}

// False: later.
bool Link::send(Outgoing& outgoing) {
  std::array<int, transport::protocol::kMaxFds> fds{};
  for (std::size_t i = 0; i < outgoing.fds.size(); ++i) fds[i] = outgoing.fds[i].get();
  if (transport::send_packet(socket_.get(), outgoing.message, outgoing.text, std::span(fds).first(outgoing.fds.size())))
    return true;
  if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
  if (errno == EPIPE || errno == ECONNRESET) return true;  // its end follows, and answers everything
  const std::uint64_t number = reinterpret_cast<const Header*>(outgoing.message.data())->request;
  const Error error(Code::no_space, std::string("mld can't reach the worker: ") + std::strerror(errno), spec.name,
                    "try again when fewer requests are under way");
  loop.post([link = shared_from_this(), number, error] {
    if (auto node = link->pending_.extract(number)) node.mapped()(nullptr, &error);
  });
  return true;
}

void Link::send_what_waits() {
  while (!outgoing_.empty() && send(outgoing_.front())) outgoing_.pop_front();
  if (outgoing_.empty() && watched_out_) watch_socket();
}

void Link::watch_socket() {
  watched_out_ = !outgoing_.empty();
  loop.watch(socket_.get(), watched_out_ ? EPOLLIN | EPOLLOUT : EPOLLIN,
             [link = shared_from_this()](std::uint32_t ready_events) { link->socket_ready(ready_events); });
}

void Link::socket_ready(std::uint32_t ready_events) {
  const auto keep = shared_from_this();  // an answer may destroy the WorkerProcess, and a new watch this one's function
  if ((ready_events & EPOLLIN) != 0) receive_all();
  if (!alive_ || !socket_) return;
  if ((ready_events & EPOLLOUT) != 0) send_what_waits();
  if ((ready_events & (EPOLLHUP | EPOLLERR)) == 0) return;
  // Mostly it has ended, and its pidfd says so next. One that only closed its socket is of no use.
  loop.unwatch(socket_.get());
  kill({});
}

void Link::receive_all() {
  Packet packet;
  while (socket_ && !let_go_) {
    switch (transport::receive_packet(socket_.get(), transport::protocol::kMaxPacket, packet)) {
      case Received::packet: take(packet); break;
      case Received::malformed: return kill("sent a packet that is none");
      case Received::nothing:
      case Received::closed: return;
    }
  }
}

void Link::take(Packet& packet) {
  if (packet.request() == 0) {
    const auto* const ended = packet.as<wire::SessionEnded>();
    if (ended == nullptr || packet.kind() != static_cast<std::uint32_t>(wire::Kind::session_ended))
      return kill("sent what nobody asked for");
    if (events_.session_ended) events_.session_ended(*ended, packet.text());
    return;
  }
  auto node = pending_.extract(packet.request());
  if (!node) return;  // failed here before it was sent
  if (packet.kind() == kError) {
    const Error error = transport::failure_in(packet);
    node.mapped()(nullptr, &error);
  } else {
    node.mapped()(&packet, nullptr);
  }
}

void Link::kill(const std::string& why) {
  if (!alive_) return;
  if (killed_for_.empty()) killed_for_ = why;
  syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGKILL, nullptr, 0);
}

void Link::ended() {
  const auto keep = shared_from_this();
  siginfo_t status{};
  while (waitid(P_PIDFD, static_cast<id_t>(child.pidfd.get()), &status, WEXITED) != 0 && errno == EINTR) {
  }
  receive_all();  // what it answered before it ended
  alive_ = false;
  loop.unwatch(child.pidfd.get());
  if (socket_) loop.unwatch(socket_.get());
  socket_.reset();
  outgoing_.clear();
  before_ready_.clear();
  const std::string how = killed_for_.empty() ? how_it_ended(status) : killed_for_;
  answer_all(Error(Code::device_lost, "the worker of " + spec.name + " died: " + how, {}, "connect again"));
  if (!let_go_ && events_.died) std::exchange(events_, {}).died(how);
}

void Link::answer_all(const Error& error) {
  for (auto& [number, answer] : std::exchange(pending_, {})) answer(nullptr, &error);
}

void Link::let_go() {
  if (std::exchange(let_go_, true)) return;
  events_ = {};
  if (!alive_) return;
  kill("no longer wanted");
  // ended() follows when the process is gone; nobody else reads its socket.
  loop.unwatch(socket_.get());
  loop.post([link = shared_from_this()] {
    link->answer_all(
        Error(Code::device_lost, "the worker of " + link->spec.name + " was stopped", {}, "connect again"));
  });
}

class SpawnedWorker final : public WorkerProcess {
 public:
  explicit SpawnedWorker(std::shared_ptr<Link> link) : link_(std::move(link)) {}
  ~SpawnedWorker() override { link_->let_go(); }
  SpawnedWorker(const SpawnedWorker&) = delete;
  SpawnedWorker& operator=(const SpawnedWorker&) = delete;

  const WorkerSpec& spec() const override { return link_->spec; }
  pid_t pid() const override { return link_->child.pid; }
  std::uint32_t generation() const override { return link_->generation; }
  bool ready() const override { return link_->ready; }
  const std::string& fingerprint() const override { return link_->fingerprint; }
  void request(std::span<std::byte> message, std::string_view text, std::span<const int> fds, Answer answer) override {
    link_->request(message, text, fds, std::move(answer));
  }
  std::vector<std::uint64_t> running_sessions() const override { return link_->running.sessions(); }
  void kill() override { link_->kill({}); }

 private:
  std::shared_ptr<Link> link_;
};

}  // namespace

std::unique_ptr<WorkerProcess> start_worker(Loop& loop, const std::string& program, const WorkerSpec& spec,
                                            const std::optional<Identity>& identity, std::uint32_t generation,
                                            WorkerEvents events) {
  auto link = std::make_shared<Link>(loop, spec, generation, std::move(events));
  auto worker = std::make_unique<SpawnedWorker>(link);  // lets go of it if start() throws half-way
  link->start(program, identity);
  return worker;
}

}  // namespace ml::daemon
