#include "libmlclient/session/session_core.h"

#include <pthread.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "libmlclient/session/storage.h"

namespace ml::client {
namespace {

std::atomic<bool> opened{false};
std::atomic<bool> forked{false};

// How long a daemon may take to come back, ns.
constexpr std::uint64_t kPatience = 10'000'000'000;

std::string environment(const char* name, const char* otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

SessionOptions with_defaults(SessionOptions options) {
  if (options.transport.empty()) options.transport = environment("MLACCEL", "");
  if (options.device.empty()) options.device = environment("MLACCEL_DEVICE", "");
  if (options.threads == 0) {
    const std::string text = environment("MLACCEL_THREADS", "0");
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), options.threads);
    if (code != std::errc{} || end != text.data() + text.size()) options.threads = -1;
  }
  if (options.threads < 0 || options.threads > 4096) {
    throw Error(Code::invalid_argument, "MLACCEL_THREADS (or SessionOptions::threads) is not a number of threads", {},
                "use 0 for all CPUs, or 1 to 4096");
  }
  return options;
}

std::mutex& current_mutex() {
  static std::mutex mutex;
  return mutex;
}
std::shared_ptr<SessionCore>& current_slot() {
  static std::shared_ptr<SessionCore> slot;
  return slot;
}

}  // namespace

SessionCore::SessionCore(const SessionOptions& options) : options_(with_defaults(options)) {
  std::unique_ptr<transport::Transport> transport = transport::open_transport(options_);
  options_.transport = transport->name();
  asked_device_ = std::exchange(options_.device, transport->device());
  arenas_ = std::make_unique<ArenaPool>(transport->memory());
  connection_ = std::make_shared<Connection>(std::move(transport), 1);
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    if (opened.load(std::memory_order_relaxed)) forked.store(true, std::memory_order_relaxed);
  });
  (void)registered;
  opened = true;
}

SessionCore::~SessionCore() {
  // The worker's threads did not come along into a forked child: there is nothing that could be ended.
  if (in_forked_child()) {
    (void)arenas_.release();
    return;
  }
  if (connection_->transport().shares_memory()) connection_->end();  // and the daemon takes back everything at once
}

bool SessionCore::fits(const SessionOptions& wanted) const {
  return (wanted.transport.empty() || wanted.transport == options_.transport) &&
         (wanted.device.empty() || wanted.device == options_.device || wanted.device == asked_device_) &&
         (wanted.threads == 0 || wanted.threads == options_.threads) &&
         (wanted.depth == 0 || wanted.depth == options_.depth);
}

std::shared_ptr<Connection> SessionCore::last_connection() {
  const std::lock_guard lock(connecting_);
  return connection_;
}

std::shared_ptr<Connection> SessionCore::connection() {
  const std::uint64_t failed_before = failed_attempts_.load(std::memory_order_acquire);
  const std::lock_guard lock(connecting_);
  if (!connection_->lost()) return connection_;
  // Whoever waited while another thread tried in vain gets its answer.
  if (failed_attempts_.load(std::memory_order_relaxed) != failed_before) throw Error(*refusal_);
  try {
    connect_again();
  } catch (const Error& error) {
    refusal_ = error;
    failed_attempts_.fetch_add(1, std::memory_order_release);
    throw;
  }
  return connection_;
}

void SessionCore::connect_again() {
  connection_->end();
  if (!connection_->transport().comes_back()) connection_->throw_lost();
  try {
    std::unique_ptr<transport::Transport> again = connection_->transport().open_again(options_, kPatience);
    arenas_->use(again->memory());
    connection_ = std::make_shared<Connection>(std::move(again), connection_->generation() + 1);
  } catch (const Error& error) {
    if (error.code() != Code::not_found && error.code() != Code::device_lost && error.code() != Code::again &&
        error.code() != Code::timeout)
      throw;
    throw Error(Code::device_lost,
                "the device '" + options_.device + "' was lost and did not come back within " +
                    std::to_string(kPatience / 1'000'000'000) + " s: " + error.message(),
                {}, "see that mld runs; the next use tries again");
  }
}

bool SessionCore::in_forked_child() noexcept { return forked.load(std::memory_order_relaxed); }

void SessionCore::check_process() {
  if (!in_forked_child()) return;
  throw Error(Code::device_lost, "this process was forked from one that had a session; its tensors stayed there", {},
              "fork before the first evaluation, or start a new program with exec");
}

std::shared_ptr<SessionCore> SessionCore::current() {
  check_process();
  const std::lock_guard lock(current_mutex());
  std::shared_ptr<SessionCore>& slot = current_slot();
  if (!slot) slot = std::make_shared<SessionCore>(SessionOptions{});
  return slot;
}

void SessionCore::copy(const std::shared_ptr<Storage>& to, const std::shared_ptr<Storage>& from) {
  if (from->bytes() == 0) return;
  const auto at = from->in_arena() ? to->connection() : from->connection();
  const auto worker = at ? at : connection();
  const auto table = Storage::in_arena(shared_from_this(), 2 * sizeof(mlring_argument));
  auto* const arguments = reinterpret_cast<mlring_argument*>(table->host());
  std::memset(arguments, 0, 2 * sizeof(mlring_argument));
  for (int i = 0; i < 2; ++i) {
    mlring_argument& argument = arguments[i];
    argument.direction = i == 0 ? MLRING_IN : MLRING_OUT;
    argument.dtype = MLRING_U8;
    argument.rank = 1;
    argument.dims[0] = from->bytes();
    (i == 0 ? from : to)->name_in(argument, *worker);
  }
  mlring_argument where{};
  table->name_in(where, *worker);
  mlring_descriptor descriptor{};
  descriptor.opcode = MLRING_OP_COPY;
  descriptor.argument_arena = where.arena;
  descriptor.argument_offset = where.offset;
  descriptor.argument_count = 2;
  worker->run(descriptor);
}

}  // namespace ml::client

namespace ml {

const std::string& Session::transport() const { return core_->options().transport; }
const std::string& Session::device() const { return core_->options().device; }
std::string Session::fingerprint() const { return core_->connection()->transport().fingerprint(); }

SessionStatistics Session::statistics() const {
  return {core_->programs_compiled, core_->programs_reused, core_->executions, core_->arenas().mapped_bytes()};
}

void Session::synchronize() const {
  client::SessionCore::check_process();
  core_->last_connection()->queue().drain();
}

Session connect(const SessionOptions& options) {
  client::SessionCore::check_process();
  const std::lock_guard lock(client::current_mutex());
  std::shared_ptr<client::SessionCore>& slot = client::current_slot();
  if (!slot) {
    slot = std::make_shared<client::SessionCore>(options);
    return Session(slot);
  }
  const SessionOptions& is = slot->options();
  if (!slot->fits(options)) {
    throw Error(Code::invalid_argument,
                "connect: a session is open already, on device '" + is.device + "' through '" + is.transport + "'", {},
                "call connect before the first evaluation");
  }
  return Session(slot);
}

Session default_session() { return Session(client::SessionCore::current()); }

}  // namespace ml
