#include "libmlclient/session/session_core.h"

#include <pthread.h>

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "libmlclient/session/storage.h"

namespace ml::client {
namespace {

std::atomic<bool> opened{false};
std::atomic<bool> forked{false};

std::string environment(const char* name, const char* otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

SessionOptions with_defaults(SessionOptions options) {
  if (options.transport.empty()) options.transport = environment("MLACCEL", "embedded");
  if (options.device.empty()) options.device = environment("MLACCEL_DEVICE", "cpu");
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
  transport_ = transport::open_transport(options_);
  arenas_ = std::make_unique<ArenaPool>(*transport_);
  queue_ = std::make_unique<Queue>(transport_->ring());
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    if (opened.load(std::memory_order_relaxed)) forked.store(true, std::memory_order_relaxed);
  });
  (void)registered;
  opened = true;
}

SessionCore::~SessionCore() {
  if (in_forked_child()) {  // the worker's threads did not come along: there is nothing that could be ended
    (void)arenas_.release();
    (void)queue_.release();
    (void)transport_.release();
    return;
  }
  programs_.clear();
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

void SessionCore::submit(const std::shared_ptr<Pending>& pending, const mlring_descriptor& descriptor) {
  if (any_to_free_.load(std::memory_order_acquire)) submit_frees();
  queue_->submit(pending, descriptor);
}

std::shared_ptr<Pending> SessionCore::run(const mlring_descriptor& descriptor) {
  const auto pending = std::make_shared<Pending>();
  submit(pending, descriptor);
  queue_->wait(*pending);
  pending->check();
  return pending;
}

void SessionCore::free_later(mlring_handle handle) noexcept {
  const std::lock_guard lock(freeing_);
  to_free_.push_back(handle);
  any_to_free_.store(true, std::memory_order_release);
}

void SessionCore::submit_frees() {
  std::vector<mlring_handle> handles;
  {
    const std::lock_guard lock(freeing_);
    handles.swap(to_free_);
    any_to_free_.store(false, std::memory_order_release);
  }
  for (const mlring_handle handle : handles) {
    mlring_descriptor descriptor{};
    descriptor.opcode = MLRING_OP_FREE;
    descriptor.handle = handle;
    queue_->submit(std::make_shared<Pending>(), descriptor);
  }
}

void SessionCore::copy(const std::shared_ptr<Storage>& to, const std::shared_ptr<Storage>& from) {
  if (from->bytes() == 0) return;
  const auto table = Storage::in_arena(shared_from_this(), 2 * sizeof(mlring_argument));
  auto* const arguments = reinterpret_cast<mlring_argument*>(table->host());
  std::memset(arguments, 0, 2 * sizeof(mlring_argument));
  for (int i = 0; i < 2; ++i) {
    mlring_argument& argument = arguments[i];
    argument.direction = i == 0 ? MLRING_IN : MLRING_OUT;
    argument.dtype = MLRING_U8;
    argument.rank = 1;
    argument.dims[0] = from->bytes();
    (i == 0 ? from : to)->name_in(argument);
  }
  mlring_argument where{};
  table->name_in(where);
  mlring_descriptor descriptor{};
  descriptor.opcode = MLRING_OP_COPY;
  descriptor.argument_arena = where.arena;
  descriptor.argument_offset = where.offset;
  descriptor.argument_count = 2;
  run(descriptor);
}

}  // namespace ml::client

namespace ml {

const std::string& Session::transport() const { return core_->transport_name(); }
const std::string& Session::device() const { return core_->device(); }
std::string Session::fingerprint() const { return core_->fingerprint(); }

SessionStatistics Session::statistics() const {
  return {core_->programs_compiled, core_->programs_reused, core_->executions, core_->arenas().mapped_bytes()};
}

void Session::synchronize() const {
  client::SessionCore::check_process();
  core_->queue().drain();
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
  const auto differs = [](const std::string& wanted, const std::string& has) {
    return !wanted.empty() && wanted != has;
  };
  if (differs(options.transport, is.transport) || differs(options.device, is.device) ||
      (options.threads != 0 && options.threads != is.threads) || (options.depth != 0 && options.depth != is.depth)) {
    throw Error(Code::invalid_argument,
                "connect: a session is open already, on device '" + is.device + "' through '" + is.transport + "'", {},
                "call connect before the first evaluation");
  }
  return Session(slot);
}

Session default_session() { return Session(client::SessionCore::current()); }

}  // namespace ml
