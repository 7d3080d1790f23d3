#include "tests/system/support/own_worker.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <optional>
#include <stdexcept>

#include "tests/system/support/daemon.h"

namespace ml::test {
namespace {

namespace wire = daemon::worker_protocol;

constexpr std::uint64_t kLook = 1'000'000;  // ns
constexpr int kFixed = F_SEAL_SHRINK | F_SEAL_GROW;

// The state page as mld makes it.
transport::UniqueFd make_state(std::uint64_t bytes) {
  transport::UniqueFd file = make_memory({.bytes = bytes, .seals = 0});
  void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (at == MAP_FAILED) throw std::runtime_error("mmap");
  auto* const state = static_cast<mlring_state*>(at);
  state->generation = 1;
  state->notify_at = MLRING_NEVER;
  state->state = MLRING_STATE_ACTIVE;
  munmap(at, bytes);
  if (fcntl(file.get(), F_ADD_SEALS, kFixed | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
    throw std::runtime_error("sealing");
  return file;
}

transport::UniqueFd make_submission(std::uint64_t bytes) {
  transport::UniqueFd file = make_memory({.bytes = bytes, .seals = kFixed | F_SEAL_SEAL});
  mlring_submission_header header{};
  header.tail = header.completion_head = MLRING_START;
  if (pwrite(file.get(), &header, sizeof header, 0) != sizeof header) throw std::runtime_error("pwrite");
  return file;
}

}  // namespace

bool run_until(daemon::Loop& loop, const std::function<bool()>& condition, Milliseconds within) {
  const Deadline deadline(within);
  std::function<void()> look = [&] {
    if (condition() || deadline.passed())
      loop.stop();
    else
      loop.after(kLook, look);
  };
  loop.after(0, look);
  loop.run();
  return condition();
}

OwnWorker::OwnWorker(daemon::WorkerSpec spec)
    : loop(daemon::Loop::create(daemon::Loop::Kind::automatic, nullptr)),
      preemption_(make_memory({.bytes = sizeof(wire::PreemptionPage)})) {
  spec.preemption_fds = {preemption_.get()};
  daemon::WorkerEvents events;
  events.died = [this](const std::string& how) { death = how; };
  events.session_ended = [this](const wire::SessionEnded& what, std::string_view) { ended.push_back(what); };
  worker = daemon::start_worker(*loop, program_path("mld-worker"), spec, std::nullopt, 1, std::move(events));
}

OwnWorker::~OwnWorker() { worker.reset(); }

transport::Packet OwnWorker::request(std::span<std::byte> message, const std::vector<int>& fds) {
  std::optional<transport::Packet> packet;
  std::optional<Error> error;
  worker->request(message, {}, fds, [&](transport::Packet* answer, const Error* refused) {
    if (refused != nullptr)
      error = *refused;
    else
      packet = std::move(*answer);
  });
  if (!run_until(*loop, [&] { return packet || error; })) throw std::runtime_error("the worker does not answer");
  if (error) throw Error(*error);
  return std::move(*packet);
}

void OwnWorker::open_session(std::uint64_t session) {
  wire::OpenSession wanted{};
  wanted.session = session;
  wanted.uid = 1000;
  wanted.weight = 100;
  wanted.queues = 8;
  wanted.arenas = 8;
  wanted.handles = 64;
  wanted.plans = 4;
  wanted.device_bytes = 1u << 30;
  wanted.graph_bytes = 1u << 20;
  wanted.scratch_bytes = 1u << 30;
  wanted.compile_ms = 60'000;
  request(wanted, wire::Kind::open_session);
}

std::unique_ptr<RawQueue> OwnWorker::open_queue(std::uint64_t session, std::uint32_t queue, std::uint32_t depth) {
  mlring_layout layout{};
  if (!mlring_compute_layout(&layout, depth, static_cast<std::uint32_t>(sysconf(_SC_PAGESIZE))))
    throw std::runtime_error("depth");
  transport::Packet opened;
  opened.fds.push_back(make_submission(layout.submission_bytes));
  opened.fds.emplace_back();  // completion, from the worker
  opened.fds.push_back(make_state(layout.state_bytes));
  for (int i = 0; i < 2; ++i) opened.fds.emplace_back(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  wire::OpenQueue wanted{};
  wanted.session = session;
  wanted.queue = queue;
  wanted.depth = depth;
  transport::Packet answer =
      request(wanted, wire::Kind::open_queue,
              {opened.fds[0].get(), opened.fds[2].get(), opened.fds[3].get(), opened.fds[4].get()});
  const auto* const made = answer.as<wire::QueueOpened>();
  if (made == nullptr || answer.fds.size() != 1) throw std::runtime_error("the worker's answer is no queue");
  opened.fds[1] = std::move(answer.fds[0]);
  protocol::QueueOpened message{};
  message.header.kind = static_cast<std::uint32_t>(protocol::Kind::queue);
  message.header.bytes = sizeof message;
  message.queue = queue;
  message.depth = depth;
  message.handle = made->handle;
  const auto bytes = std::as_bytes(std::span(&message, 1));
  opened.bytes.assign(bytes.begin(), bytes.end());
  return std::make_unique<RawQueue>(std::move(opened));
}

std::unique_ptr<RawArena> OwnWorker::add_arena(std::uint64_t session, std::uint64_t bytes) {
  transport::UniqueFd memory = make_memory({.bytes = bytes});
  wire::AddArena wanted{};
  wanted.session = session;
  wanted.bytes = bytes;
  const transport::Packet answer = request(wanted, wire::Kind::add_arena, {memory.get()});
  return std::make_unique<RawArena>(std::move(memory), bytes, answer.as<wire::ArenaAdded>()->arena);
}

void OwnWorker::load_model(std::uint64_t model, int file, std::uint64_t bytes) {
  wire::LoadModel wanted{};
  wanted.model = model;
  wanted.bytes = bytes;
  request(wanted, wire::Kind::load_model, {file});
}

wire::SessionStatistics OwnWorker::statistics() {
  return *request(wire::Statistics{}, wire::Kind::statistics).as<wire::SessionStatistics>();
}

}  // namespace ml::test
